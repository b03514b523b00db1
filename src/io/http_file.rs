//! Opening files to answer with.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::http::HttpFile;
use crate::sys::file::OPEN_FLAGS;
use crate::sys::kernel::wall_secs;

impl HttpFile {
    /// Opens a file for reading. Symbolic links are followed. Its media type is that which the
    /// ending of its name suggests; [`content_type`](Self::content_type) says another. This blocks
    /// for as long as the file system takes.
    ///
    /// # Errors
    /// Those of the system: `NotFound`, `PermissionDenied`; `IsADirectory` for a directory and
    /// `InvalidInput` for a pipe, a socket or a device: they have no length that could be promised.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(path)?;
        Self::of(file, Some(path))
    }

    /// The same for a file that is open for reading. Its media type is `application/octet-stream`,
    /// unless [`content_type`](Self::content_type) says another. Where it is read from elsewhere
    /// does not matter, and is not changed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_file(file: File) -> Result<Self> {
        Self::of(file, None)
    }

    fn of(file: File, path: Option<&Path>) -> Result<Self> {
        let about = file.metadata()?;
        if about.is_dir() {
            return Err(Error::new(
                ErrorKind::IsADirectory,
                "a directory is no answer: open a file in it, index.html for example",
            ));
        }
        if !about.is_file() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a pipe, socket or device has no length to promise: answer with a stream",
            ));
        }
        Ok(Self::new(file, &about, path, wall_secs()))
    }
}
