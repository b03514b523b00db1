//! What a reference leads to, seen from a URL: RFC 3986 §5.2.

use super::{HttpUrl, HttpUrlError, URL_LEN_MAX, after, is_url_byte};

impl HttpUrl<'_> {
    /// The URL that `location`, the value of a `Location` field (RFC 9110 §10.2.2), leads to from
    /// this one; its text is written to `out`, in place of what was there, and needs no more room
    /// than 8192 bytes.
    ///
    /// Blanks and bytes beyond ASCII in path and query, which many servers send as they are, are
    /// percent-encoded.
    ///
    /// # Errors
    /// When it leads to something that is no URL to be asked for.
    pub fn resolve<'o>(
        &self,
        location: &[u8],
        out: &'o mut String,
    ) -> Result<HttpUrl<'o>, HttpUrlError> {
        out.clear();
        let reference = location.split(|byte| *byte == b'#').next().unwrap_or_default();
        self.write_resolved(reference, out)?;
        HttpUrl::parse(out)
    }

    fn write_resolved(&self, reference: &[u8], out: &mut String) -> Result<(), HttpUrlError> {
        let scheme = if self.is_https() { "https:" } else { "http:" };
        if let Some(behind) = behind_scheme(reference) {
            let (scheme, rest) = reference.split_at_checked(behind).unwrap_or_default();
            out.push_str(match scheme {
                _ if scheme.eq_ignore_ascii_case(b"http:") => "http:",
                _ if scheme.eq_ignore_ascii_case(b"https:") => "https:",
                _ => return Err(HttpUrlError::Scheme),
            });
            let rest = rest.strip_prefix(b"//").ok_or(HttpUrlError::Scheme)?;
            return push_from_authority(out, rest);
        }
        out.push_str(scheme);
        if let Some(rest) = reference.strip_prefix(b"//") {
            return push_from_authority(out, rest);
        }
        out.push_str("//");
        let base = after(self.text, scheme).and_then(|rest| rest.strip_prefix("//"));
        let base = base.unwrap_or_default();
        let [_, target] = self.target();
        out.push_str(base.strip_suffix(target).unwrap_or(base));
        let root = out.len();
        let (path, query) = split_query(reference);
        let own_path = target.split_once('?').map_or(target, |(path, _)| path);
        match path {
            // §5.2.2: "T.path = Base.path", with the base's query where there is no other.
            [] => {
                let kept = if query.is_empty() { target } else { own_path };
                push(out, kept.as_bytes())?;
                return push(out, query);
            }
            [b'/', ..] => push_path(out, root, path)?,
            // §5.2.3: "all but the last segment of the base URI's path", which begins at its root.
            _ => {
                let folder = own_path.rfind('/').map_or("", |at| own_path.split_at(at).0);
                push_path(out, root, folder.as_bytes())?;
                push_segments(out, root, path)?;
            }
        }
        push(out, query)
    }
}

/// Bytes of a scheme with its colon, if there is one (§3.1). A colon in a first segment would be
/// one (§4.2).
fn behind_scheme(reference: &[u8]) -> Option<usize> {
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let len = reference.iter().position(|byte| !is_scheme(byte))?;
    let begins = reference.first().is_some_and(u8::is_ascii_alphabetic);
    (begins && reference.get(len) == Some(&b':')).then_some(len + 1)
}

/// Path, and query with its `?`.
fn split_query(target: &[u8]) -> (&[u8], &[u8]) {
    let at = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    target.split_at_checked(at).unwrap_or_default()
}

/// `//authority`, and a path whose dots are taken out.
fn push_from_authority(out: &mut String, rest: &[u8]) -> Result<(), HttpUrlError> {
    out.push_str("//");
    let len = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(len).unwrap_or_default();
    if !authority.iter().copied().all(is_url_byte) {
        return Err(HttpUrlError::Host);
    }
    push(out, authority)?;
    let (path, query) = split_query(target);
    let root = out.len();
    push_path(out, root, path)?;
    push(out, query)
}

/// A path that is empty, or begins with a slash.
fn push_path(out: &mut String, root: usize, path: &[u8]) -> Result<(), HttpUrlError> {
    match path.strip_prefix(b"/") {
        Some(segments) => push_segments(out, root, segments),
        None => Ok(()),
    }
}

/// Segments behind what stands from `root` on, §5.2.4: `.` is nothing, and `..` takes the segment
/// before it away.
fn push_segments(out: &mut String, root: usize, segments: &[u8]) -> Result<(), HttpUrlError> {
    let mut segments = segments.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." => {
                let parent = out.get(root..).and_then(|path| path.rfind('/')).unwrap_or(0);
                out.truncate(root + parent);
            }
            _ => {
                push(out, b"/")?;
                push(out, segment)?;
                continue;
            }
        }
        if is_last {
            push(out, b"/")?;
        }
    }
    Ok(())
}

/// Appends bytes; those that a URL cannot have are encoded (RFC 3986 §2.1) or refused.
fn push(out: &mut String, bytes: &[u8]) -> Result<(), HttpUrlError> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        let digit = |n: u8| char::from(DIGITS.get(usize::from(n)).copied().unwrap_or_default());
        let is_encoded = matches!(byte, b' ' | 0x80..);
        if !is_encoded && !is_url_byte(byte) {
            return Err(HttpUrlError::Byte);
        }
        let len = if is_encoded { "%20".len() } else { 1 };
        if out.len() + len > URL_LEN_MAX {
            return Err(HttpUrlError::TooLong);
        }
        if is_encoded {
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.push(char::from(byte));
        }
    }
    Ok(())
}
