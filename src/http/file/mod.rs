//! [`HttpFile`]: a file as a representation, RFC 9110 §8.
//!
//! Role: an open file with what is said of it: length, date, entity tag, media type. Not role:
//! opening (`io::http_file`), deciding what a request gets of it (`conditions`, `range`), sending.
//!
//! *Invariant*: what is said of a file was true when it was opened, and does not change: a file
//! that changes later is noticed when less of it is there than was promised, not before.

mod conditions;
mod media;
mod range;

use std::fmt;
use std::fs::{File, Metadata};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str;
use std::sync::Arc;

use super::date::{self, DATE_LEN};
pub(crate) use conditions::{Decision, decide};
pub(crate) use range::{Range, parse_range};

/// An open file to answer with: `HttpFile::answer` makes the answer that a request asks for.
///
/// Opening costs system calls, and answering none but those that send. So open a file once and keep
/// it: a clone is a reference count, from any thread. It goes on giving the content that it was
/// opened with if the file is *replaced* (a new file renamed over it), which is how files that are
/// served should be changed. One that is written to in place may be seen in the middle of it, and
/// one that is cut short ends the connections that were sending it with
/// [`code::HTTP_ANSWER_CUT`](crate::code::HTTP_ANSWER_CUT).
///
/// ```no_run
/// use zero_io::{Event, HttpFile, Io};
/// # fn serve(io: &mut Io) -> Result<(), Box<dyn std::error::Error>> {
/// let page = HttpFile::open("index.html")?;
/// let (mut events, mut sender) = io.split();
/// while let Some(event) = events.next_event() {
///     if let Event::HttpRequest { conn, id, request } = event {
///         sender.http_respond(conn, id, page.answer(&request))?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HttpFile {
    opened: Arc<Opened>,
    content_type: ContentType,
}

/// What clones share.
struct Opened {
    file: File,
    len: u64,
    modified_secs: u64,
    modified: [u8; DATE_LEN],
    /// The date may stand for the content: see [`HttpFile::is_date_strong`].
    is_date_strong: bool,
    etag: String,
}

#[derive(Clone)]
enum ContentType {
    Known(&'static str),
    Own(Arc<str>),
}

impl HttpFile {
    /// The file with what the system says of it; `now_secs` is the time of day in seconds since
    /// 1970.
    pub(crate) fn new(file: File, about: &Metadata, path: Option<&Path>, now_secs: u64) -> Self {
        let written_secs = u64::try_from(about.mtime()).unwrap_or(0);
        // RFC 9110 §8.8.2.1: a date in the future is replaced by that of the answer.
        let modified_secs = written_secs.min(now_secs);
        // RFC 9110 §8.8.3: the parts that change with the content. A leading minus of a time before
        // 1970 may stand in a tag as well.
        let ns = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
        let etag = format!("\"{ns:x}-{:x}-{:x}\"", about.len(), about.ino());
        let opened = Opened {
            file,
            len: about.len(),
            modified_secs,
            modified: date::format(modified_secs),
            is_date_strong: written_secs < now_secs.saturating_sub(1),
            etag,
        };
        let content_type = ContentType::Known(path.map_or(media::BINARY, media::of));
        Self { opened: Arc::new(opened), content_type }
    }

    /// The same file with another media type than its name suggests.
    #[must_use]
    pub fn content_type(mut self, media_type: &str) -> Self {
        self.content_type = ContentType::Own(Arc::from(media_type));
        self
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(&self) -> &str {
        match &self.content_type {
            ContentType::Known(known) => known,
            ContentType::Own(own) => own,
        }
    }

    /// Its length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty file is a file like any other")]
    pub fn len(&self) -> u64 {
        self.opened.len
    }

    /// When it was changed last, in seconds since 1970 (not later than it was opened).
    #[must_use]
    pub fn modified_secs(&self) -> u64 {
        self.opened.modified_secs
    }

    /// The same as `Last-Modified` says it.
    #[must_use]
    pub fn last_modified(&self) -> &str {
        str::from_utf8(&self.opened.modified).unwrap_or_default()
    }

    /// Its entity tag (RFC 9110 §8.8.3), a strong one: made from its time of change in nanoseconds,
    /// its length, and the number of its inode.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.opened.etag
    }

    /// RFC 9110 §8.8.2.2: a date is a strong validator if the content was not changed again in the
    /// same second, which is known when that second was over.
    pub(crate) fn is_date_strong(&self) -> bool {
        self.opened.is_date_strong
    }

    /// A stretch of it, to be sent.
    pub(crate) fn span(&self, at: u64, len: u64) -> FileSpan {
        FileSpan { opened: Arc::clone(&self.opened), at, len }
    }
}

impl fmt::Debug for HttpFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFile")
            .field("len", &self.len())
            .field("media_type", &self.media_type())
            .field("etag", &self.etag())
            .field("last_modified", &self.last_modified())
            .finish_non_exhaustive()
    }
}

/// A stretch of a file that is to be sent.
pub(crate) struct FileSpan {
    opened: Arc<Opened>,
    pub(crate) at: u64,
    pub(crate) len: u64,
}

impl FileSpan {
    /// The descriptor, open for as long as there is a span or a clone of the file.
    pub(crate) fn fd(&self) -> RawFd {
        self.opened.file.as_raw_fd()
    }

    /// The length of the whole file.
    pub(crate) fn whole_len(&self) -> u64 {
        self.opened.len
    }

    /// So many bytes of it were sent. Whether that was all.
    pub(crate) const fn advance(&mut self, len: u64) -> bool {
        self.at += len;
        self.len -= len;
        self.len == 0
    }
}

/// What a connection may still send out of files in one tick, so that others get their turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileTurn {
    tick: u64,
    left: u64,
}

impl FileTurn {
    /// Bytes of a tick: where more no longer makes a system call cheaper per byte.
    const BYTES: u64 = 256 * 1024;

    pub(crate) const fn new() -> Self {
        Self { tick: 0, left: 0 }
    }

    /// Bytes that are left in that tick.
    pub(crate) const fn left(&mut self, tick: u64) -> u64 {
        if self.tick != tick {
            *self = Self { tick, left: Self::BYTES };
        }
        self.left
    }

    /// So many were sent in the tick that was asked about last.
    pub(crate) const fn took(&mut self, len: u64) {
        self.left = self.left.saturating_sub(len);
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<HttpFile>();
};
