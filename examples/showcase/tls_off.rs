//! TLS endpoints, without the feature `tls`: none.

use std::io::{Write, stdout};

use zero_io::Io;

pub(super) fn listen(_io: &mut Io) -> Result<(), Box<dyn std::error::Error>> {
    writeln!(
        stdout(),
        "TLS                    cargo run --release --features tls --example showcase"
    )?;
    Ok(())
}
