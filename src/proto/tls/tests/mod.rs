//! The machine against itself, against rustls' buffered connections, and against forged records.

mod control;
mod ends;
mod fixture;
mod forge;
mod handshake;
mod hostile;
mod records;
mod split;
mod wire;

use super::cipher::Cipher;
use super::wire::Header;
use super::{Phase, Tls};
use crate::config::TlsVersion;
use fixture::TLS13;

impl Tls {
    /// As if so many records had been sealed.
    fn set_tx_seq(&mut self, seq: u64) {
        let Phase::Record(record) = &mut self.phase else { panic!("not established") };
        record.tx().set_seq(seq);
    }
}
