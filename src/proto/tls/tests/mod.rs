//! The machine against itself, against rustls' buffered connections, and against forged records.

mod control;
mod ends;
mod fixture;
mod forge;
mod handshake;
mod hostile;
mod kernel;
mod records;
mod split;
mod told;
mod wire;

use super::cipher::Cipher;
use super::kernel::Layer;
use super::record::Record;
use super::session::Session;
use super::wire::Header;
use super::{Phase, Tls};
use crate::config::{TlsInfo, TlsVersion};
use crate::sys::ktls::Side;
use fixture::TLS13;

/// What an established connection is made of.
struct Parts {
    tx: Cipher,
    rx: Cipher,
    session: Session,
    info: Box<TlsInfo>,
}

impl Tls {
    /// As if so many records had been sealed.
    pub(crate) fn set_tx_seq(&mut self, seq: u64) {
        let Phase::Record(record) = &mut self.phase else { panic!("not established") };
        let Layer::Ours(cipher) = &mut record.tx else { panic!("the kernel has it") };
        cipher.set_seq(seq);
    }

    /// As if so many records had been opened.
    pub(crate) fn set_rx_seq(&mut self, seq: u64) {
        let Phase::Record(record) = &mut self.phase else { panic!("not established") };
        let Layer::Ours(cipher) = &mut record.rx else { panic!("the kernel has it") };
        cipher.set_seq(seq);
    }

    /// Takes an established connection apart, between messages.
    fn into_parts(self: Box<Self>) -> Parts {
        for side in [Side::Tx, Side::Rx] {
            self.kernel_key(side).map(drop).unwrap();
        }
        let Phase::Record(record) = self.phase else { panic!("not established") };
        let Record { tx: Layer::Ours(tx), rx: Layer::Ours(rx), session, info, .. } = record else {
            panic!("the kernel has it");
        };
        Parts { tx, rx, session, info }
    }
}
