//! [`KernelKeys`]: an established connection taken apart, for the kernel to go on with.

use super::cipher::Secret;
use super::record::Record;
use super::session::Session;
use crate::config::{TlsInfo, TlsVersion};

/// One direction's key, as `SOL_TLS` wants it. Zeroed when dropped.
pub(crate) struct DirectionKey {
    secret: Secret,
    seq: u64,
}

impl DirectionKey {
    /// 16 or 32 bytes.
    pub(crate) fn key(&self) -> &[u8] {
        self.secret.key()
    }

    /// Salt and IV. TLS 1.2 with AES-GCM: the last eight bytes are where our explicit nonces
    /// start.
    pub(crate) const fn iv(&self) -> &[u8; 12] {
        self.secret.iv()
    }

    /// The number of the next record.
    pub(crate) const fn seq(&self) -> u64 {
        self.seq
    }

    /// For a record layer of ours to go on with.
    #[cfg(test)]
    pub(super) fn into_secret(self) -> Secret {
        self.secret
    }
}

/// Everything that a record layer elsewhere needs.
pub(crate) struct KernelKeys {
    pub(crate) version: TlsVersion,
    /// The cipher suite's name in IANA's registry.
    pub(crate) suite: &'static str,
    pub(crate) tx: DirectionKey,
    pub(crate) rx: DirectionKey,
    /// The next keys, and tickets: stays with us.
    pub(crate) session: Session,
    pub(crate) info: Box<TlsInfo>,
}

impl KernelKeys {
    pub(crate) fn of(record: Record) -> Self {
        let ([tx, rx], session, info) = record.into_parts();
        let [tx, rx] = [tx, rx].map(|(secret, seq)| DirectionKey { secret, seq });
        Self { version: info.version, suite: info.cipher_suite, tx, rx, session, info }
    }
}
