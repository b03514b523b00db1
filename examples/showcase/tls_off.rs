//! TLS endpoints, without the feature `tls`: none.

use std::io::{Write, stdout};

use super::host::Host;

pub(super) fn listen(_host: &mut Host) -> Result<(), Box<dyn std::error::Error>> {
    writeln!(
        stdout(),
        "TLS                    cargo run --release --features tls --example showcase"
    )?;
    Ok(())
}
