//! The HTTP endpoint, without the feature `http`: none.

use std::error::Error;
use std::io::{Write as _, stdout};

use zero_io::{Event, Io, Sender, ShardIo};

use super::host::Host;

pub(super) struct Web;

#[derive(Clone, Copy)]
pub(super) struct Place;

impl Place {
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as with the feature")]
    pub(super) const fn on(self, _shard: &mut ShardIo) -> zero_io::Result<Self> {
        Ok(self)
    }
}

impl Web {
    pub(super) const fn new(_place: Place) -> Self {
        Self
    }

    pub(super) fn listen(_host: &mut Host) -> Result<Place, Box<dyn Error>> {
        writeln!(
            stdout(),
            "HTTP, live figures     cargo run --release --features http --example showcase"
        )?;
        Ok(Place)
    }

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) const fn answer(&self, _sender: &mut Sender<'_>, _event: &Event<'_>) {}

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the same shape as with the feature")]
    pub(super) const fn note(&mut self, _io: &mut Io, _connections: u64, _messages: u64) {}
}
