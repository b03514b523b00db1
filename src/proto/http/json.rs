//! Values that are written as JSON when the answer is sent.

use serde::Serialize;

/// A value of any type that can be serialised.
pub(crate) trait ErasedJson {
    /// Appends its JSON. To a vector and no other writer: the many small pieces of JSON are then
    /// written in line, where a `dyn Write` would cost a call each.
    fn write_to(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

impl<T: Serialize> ErasedJson for T {
    fn write_to(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, self)
    }
}
