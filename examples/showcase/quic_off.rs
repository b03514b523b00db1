//! The QUIC endpoint, without the feature `quic`: none.

use std::error::Error;
use std::io::{Write as _, stdout};

use zero_io::{Event, Sender};

use super::host::Host;

#[derive(Default)]
pub(super) struct Quic(());

impl Quic {
    pub(super) fn listen(_host: &mut Host) -> Result<(), Box<dyn Error>> {
        writeln!(
            stdout(),
            "QUIC                   cargo run --release --features quic --example showcase"
        )?;
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the same shape as with the feature")]
    pub(super) const fn on_event(&mut self, _sender: &mut Sender<'_>, _event: &Event<'_>) -> bool {
        false
    }
}
