//! Logs of connections, for the tools that read qlog (draft-ietf-quic-qlog-main-schema).

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is written to at a time.
const BUFFER_LEN: usize = 64 << 10;
const BYTES_MAX: u64 = 64 << 20;

/// Where one log goes.
pub type QlogWriter = Box<dyn Write + Send + Sync>;

/// The connection that a log is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QlogStart {
    /// The connection was accepted.
    pub is_server: bool,
    /// Where the peer is at the beginning.
    pub peer: SocketAddr,
    /// From 0 on, in the order in which connections began that share a [`Qlog`].
    pub number: u64,
}

type Open = dyn Fn(QlogStart) -> Option<QlogWriter> + Send + Sync;

/// Writes a log of each connection: packets sent, received and lost, and what congestion control
/// makes of them, as JSON text sequences (RFC 7464). It takes feature `quic-qlog`, and it costs:
/// each packet is written down on the shard's thread, under a lock that nobody else takes.
///
/// ```
/// use zero_io::{Qlog, QuicTransport};
/// let transport = QuicTransport::default().with(|t| t.qlog = Some(Qlog::to_dir("/var/log/quic")));
/// # let _ = transport;
/// ```
#[derive(Clone)]
pub struct Qlog {
    open: Arc<Open>,
    begun: Arc<AtomicU64>,
    bytes_max: u64,
}

impl Qlog {
    /// A file for each connection, `client-0.sqlog`, `server-1.sqlog` and so on, in a directory
    /// that exists. Files are written 64 KiB at a time, by the shard's thread, which waits for
    /// them; where that is too slow, see [`with_writer`](Self::with_writer). A file that cannot be
    /// made is left out.
    #[must_use]
    pub fn to_dir(path: impl Into<PathBuf>) -> Self {
        let dir = path.into();
        Self::with_writer(move |start| {
            let side = if start.is_server { "server" } else { "client" };
            let file = File::create(dir.join(format!("{side}-{}.sqlog", start.number))).ok()?;
            Some(Box::new(BufWriter::with_capacity(BUFFER_LEN, file)))
        })
    }

    /// Asks `open` where the log of each connection goes; `None`: there is none. What it returns is
    /// called on the shard's thread, with pieces of records: hand them to another thread rather
    /// than wait. A writer that fails once is not called again.
    #[must_use]
    pub fn with_writer(
        open: impl Fn(QlogStart) -> Option<QlogWriter> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Arc::new(open), begun: Arc::default(), bytes_max: BYTES_MAX }
    }

    /// How long one log may become; what comes beyond is left out, and the last record may be cut.
    /// Default 64 MiB.
    #[must_use]
    pub const fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// The writer of a connection that begins.
    pub(crate) fn begin(&self, is_server: bool, peer: SocketAddr) -> Option<QlogWriter> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let inner = (self.open)(QlogStart { is_server, peer, number })?;
        Some(Box::new(Bounded { inner, left: self.bytes_max }))
    }
}

impl PartialEq for Qlog {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.begun, &other.begun) && self.bytes_max == other.bytes_max
    }
}

impl fmt::Debug for Qlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qlog").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

/// Takes so many bytes, and none after an error.
struct Bounded {
    inner: QlogWriter,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let fits = bytes.len() as u64 <= self.left;
        self.left = match fits && self.inner.write_all(bytes).is_ok() {
            true => self.left - bytes.len() as u64,
            false => 0,
        };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.left > 0 {
            let _ = self.inner.flush();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Count(Arc<AtomicUsize>, bool);

    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.fetch_add(bytes.len(), Ordering::Relaxed);
            if self.1 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_is_bounded_and_never_an_error() {
        for fails in [false, true] {
            let count = Arc::new(AtomicUsize::new(0));
            let own = Arc::clone(&count);
            let log = Qlog::with_writer(move |start| {
                assert!(start.is_server && start.number == 0);
                Some(Box::new(Count(Arc::clone(&own), fails)))
            });
            let mut writer = log.bytes_max(10).begin(true, ([0; 4], 1).into()).unwrap();
            for _ in 0..5 {
                assert_eq!(writer.write(b"abcd").unwrap(), 4);
                writer.flush().unwrap();
            }
            assert_eq!(count.load(Ordering::Relaxed), if fails { 4 } else { 8 });
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_no_error() {
        let log = Qlog::to_dir("/nonexistent/directory");
        assert!(log.begin(false, ([0; 4], 1).into()).is_none());
        assert!(log.clone() == log && Qlog::to_dir("/") != log);
    }
}
