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
const LOGS_MAX: u64 = 256;
const TOTAL_BYTES_MAX: u64 = 1 << 30;

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
/// Whoever can connect can make a log: their length, their number and their length together are
/// bounded. Clones count together, on whatever shard they are. Connections beyond have no log, and
/// are as good as any; [`left_out`](Self::left_out) says how many there were, and so does a warning
/// (feature `tracing`) with the first.
///
/// ```
/// use zero_io::{Qlog, QuicTransport};
/// let transport = QuicTransport::default().with(|t| t.qlog = Some(Qlog::to_dir("/var/log/quic")));
/// # let _ = transport;
/// ```
#[derive(Clone)]
pub struct Qlog {
    open: Arc<Open>,
    counts: Arc<Counts>,
    bytes_max: u64,
    total_bytes_max: u64,
    logs_max: u64,
}

/// What clones have in common.
#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    logs: AtomicU64,
    bytes: AtomicU64,
    left_out: AtomicU64,
}

/// Adds to a count what does not take it beyond its bound; whether it did.
fn count_up(count: &AtomicU64, by: u64, max: u64) -> bool {
    let add = |now: u64| now.checked_add(by).filter(|sum| *sum <= max);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

/// Why a connection has no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoLog {
    /// Nobody wants one, or it could not be made.
    Unwanted,
    /// There are as many as there may be, or as much of them.
    Bound {
        /// It is the first one that has none for that.
        is_first: bool,
    },
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
        Self {
            open: Arc::new(open),
            counts: Arc::default(),
            bytes_max: BYTES_MAX,
            total_bytes_max: TOTAL_BYTES_MAX,
            logs_max: LOGS_MAX,
        }
    }

    /// How long one log may become; what comes beyond is left out, and the last record may be cut.
    /// Default 64 MiB.
    #[must_use]
    pub const fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// How long all logs together may become, those of connections that are over included. Where
    /// that is reached, logs under way end as at [`bytes_max`](Self::bytes_max), and no other one
    /// is begun. Default 1 GiB.
    #[must_use]
    pub const fn total_bytes_max(mut self, bytes: u64) -> Self {
        self.total_bytes_max = bytes;
        self
    }

    /// How many logs are begun at most, those of connections that are over included. Each has a
    /// descriptor and 64 KiB of memory for as long as its connection lasts, where it is a file.
    /// Default 256.
    #[must_use]
    pub const fn logs_max(mut self, logs: u64) -> Self {
        self.logs_max = logs;
        self
    }

    /// Connections so far that have no log because [`logs_max`](Self::logs_max) or
    /// [`total_bytes_max`](Self::total_bytes_max) was reached.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.counts.left_out.load(Ordering::Relaxed)
    }

    /// The writer of a connection that begins.
    pub(crate) fn begin(&self, is_server: bool, peer: SocketAddr) -> Result<QlogWriter, NoLog> {
        let counts = &self.counts;
        let number = counts.begun.fetch_add(1, Ordering::Relaxed);
        let has_bytes = counts.bytes.load(Ordering::Relaxed) < self.total_bytes_max;
        if !(has_bytes && count_up(&counts.logs, 1, self.logs_max)) {
            let is_first = counts.left_out.fetch_add(1, Ordering::Relaxed) == 0;
            return Err(NoLog::Bound { is_first });
        }
        let Some(inner) = (self.open)(QlogStart { is_server, peer, number }) else {
            counts.logs.fetch_sub(1, Ordering::Relaxed);
            return Err(NoLog::Unwanted);
        };
        let (total, total_max) = (Arc::clone(counts), self.total_bytes_max);
        Ok(Box::new(Bounded { inner, left: self.bytes_max, total, total_max }))
    }
}

impl PartialEq for Qlog {
    fn eq(&self, other: &Self) -> bool {
        let bounds = |log: &Self| (log.bytes_max, log.total_bytes_max, log.logs_max);
        Arc::ptr_eq(&self.counts, &other.counts) && bounds(self) == bounds(other)
    }
}

impl fmt::Debug for Qlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qlog")
            .field("bytes_max", &self.bytes_max)
            .field("total_bytes_max", &self.total_bytes_max)
            .field("logs_max", &self.logs_max)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// Takes so many bytes, and none after an error.
struct Bounded {
    inner: QlogWriter,
    left: u64,
    total: Arc<Counts>,
    total_max: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let len = bytes.len() as u64;
        let fits = len <= self.left && count_up(&self.total.bytes, len, self.total_max);
        self.left = match fits && self.inner.write_all(bytes).is_ok() {
            true => self.left - len,
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
        assert_eq!(log.begin(false, ([0; 4], 1).into()).err(), Some(NoLog::Unwanted));
        assert!(log.clone() == log && Qlog::to_dir("/") != log);
        assert!(log.clone().logs_max(1) != log && log.left_out() == 0);
    }

    fn into_nothing() -> Qlog {
        Qlog::with_writer(|start| (start.number != 1).then(|| Box::new(std::io::sink()) as _))
    }

    #[test]
    fn beyond_so_many_there_is_none_and_clones_count_together() {
        let log = into_nothing().logs_max(3);
        let begin = |log: &Qlog| log.begin(true, ([0; 4], 1).into()).err();
        assert_eq!(begin(&log), None);
        // One that nobody wants does not count.
        assert_eq!(begin(&log), Some(NoLog::Unwanted));
        let other = log.clone();
        assert_eq!((begin(&other), begin(&log)), (None, None));
        assert_eq!(begin(&other), Some(NoLog::Bound { is_first: true }));
        assert_eq!(begin(&log), Some(NoLog::Bound { is_first: false }));
        assert_eq!((log.left_out(), other.left_out()), (2, 2));
    }

    #[test]
    fn beyond_so_many_bytes_together_logs_end_and_none_begins() {
        let log = into_nothing().total_bytes_max(10);
        let mut writer = log.begin(true, ([0; 4], 1).into()).unwrap();
        writer.write_all(b"abcdef").unwrap();
        let clone = log.clone();
        assert!(log.begin(true, ([0; 4], 1).into()).is_err(), "nobody wants that one");
        let mut other = clone.begin(true, ([0; 4], 1).into()).unwrap();
        other.write_all(b"abcdef").unwrap();
        assert_eq!(log.counts.bytes.load(Ordering::Relaxed), 6, "a record that does not fit");
        writer.write_all(b"abcd").unwrap();
        let beyond = log.begin(true, ([0; 4], 1).into()).err();
        assert_eq!(beyond, Some(NoLog::Bound { is_first: true }));
    }
}
