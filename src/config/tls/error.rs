//! Why a TLS configuration is refused, and where.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use crate::error::{IoError, TlsConfigFault};

/// A TLS configuration that is refused: the reason, the file and the line, and the fix.
///
/// `Display` is `FILE:LINE: cause (detail); fix`. The line is the first one of the PEM block at
/// fault, or the very line for bad base64. `?` turns it into [`IoError::TlsConfig`], which has the
/// reason and the line; the file's name stays behind, as an `IoError` owns no heap memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfigError(Arc<Report>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    fault: TlsConfigFault,
    origin: Option<Origin>,
    line: u32,
    detail: String,
}

/// Where text came from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File(PathBuf),
    /// Bytes that the caller gave, named by what they are.
    Given(&'static str),
}

impl TlsConfigError {
    pub(super) fn new(fault: TlsConfigFault) -> Self {
        Self(Arc::new(Report { fault, origin: None, line: 0, detail: String::new() }))
    }

    pub(super) fn because(fault: TlsConfigFault, detail: impl fmt::Display) -> Self {
        let detail = detail.to_string();
        Self(Arc::new(Report { fault, origin: None, line: 0, detail }))
    }

    /// The library refuses to begin.
    pub(crate) fn refused(detail: impl fmt::Display) -> Self {
        Self::because(TlsConfigFault::Refused, detail)
    }

    /// The same at that place; line 0 is no line.
    pub(super) fn at(self, origin: &Origin, line: u32) -> Self {
        Self(Arc::new(Report { origin: Some(origin.clone()), line, ..(*self.0).clone() }))
    }

    /// The reason.
    #[must_use]
    pub fn fault(&self) -> TlsConfigFault {
        self.0.fault
    }

    /// The file at fault, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.0.origin {
            Some(Origin::File(path)) => Some(path),
            _ => None,
        }
    }

    /// The line of the file or text, from 1.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        Some(self.0.line).filter(|&line| line > 0)
    }

    /// What else is known: a name, a number, the library's own words. May be empty.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Given(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { fault, origin, line, detail } = &*self.0;
        if let Some(origin) = origin {
            match line {
                0 => write!(f, "{origin}: ")?,
                line => write!(f, "{origin}:{line}: ")?,
            }
        }
        fault.what().fmt(f)?;
        if !detail.is_empty() {
            write!(f, " ({detail})")?;
        }
        let fix = fault.fix();
        match self.file() {
            // The commands in it can be pasted.
            Some(file) => write!(f, "; {}", fix.replace("FILE", &file.display().to_string())),
            None => write!(f, "; {fix}"),
        }
    }
}

impl std::error::Error for TlsConfigError {}

impl From<TlsConfigError> for io::Error {
    /// With the whole error inside.
    fn from(error: TlsConfigError) -> Self {
        let kind = match error.fault() {
            TlsConfigFault::FileUnreadable(errno) => errno.kind(),
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

impl From<TlsConfigError> for IoError {
    fn from(error: TlsConfigError) -> Self {
        Self::TlsConfig { fault: error.0.fault, line: error.0.line }
    }
}
