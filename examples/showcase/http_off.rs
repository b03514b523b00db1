//! The HTTP endpoint, without the feature `http`: none.

use std::error::Error;
use std::io::{Write as _, stdout};

use zero_io::{Event, Io, Sender};

pub(super) struct Web;

impl Web {
    pub(super) fn listen(_io: &mut Io) -> Result<Self, Box<dyn Error>> {
        writeln!(
            stdout(),
            "HTTP, live figures     cargo run --release --features http --example showcase"
        )?;
        Ok(Self)
    }

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) const fn answer(&self, _sender: &mut Sender<'_>, _event: &Event<'_>) {}

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the same shape as with the feature")]
    pub(super) const fn note(&mut self, _io: &mut Io, _connections: u64, _messages: u64) {}
}
