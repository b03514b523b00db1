//! Values that are written as JSON when the answer is sent.

use std::io;

use serde::Serialize;

/// A value of any type that can be serialised.
pub(crate) trait ErasedJson {
    /// Writes its JSON.
    fn write_to(&self, out: &mut dyn io::Write) -> serde_json::Result<()>;
}

impl<T: Serialize> ErasedJson for T {
    fn write_to(&self, out: &mut dyn io::Write) -> serde_json::Result<()> {
        serde_json::to_writer(out, self)
    }
}
