//! [`Fields`]: the header fields of a message, before they are written.

use super::HttpCookie;
use crate::error::{IoError, Result};

/// The value of a header field of an answer or a request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum HttpFieldValue<'a> {
    /// As it is.
    Text(&'a str),
    /// A decimal number.
    Number(u64),
    /// A cookie, for `Set-Cookie`.
    Cookie(&'a HttpCookie<'a>),
}

impl<'a> From<&'a str> for HttpFieldValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for HttpFieldValue<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for HttpFieldValue<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

type Field<'a> = (&'a str, HttpFieldValue<'a>);

/// Fields that cost no allocation.
const FEW: usize = 4;

/// The fields in the order in which they were given. Most messages have none: then one word says
/// so, and no more is written.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a>(Option<List<'a>>);

#[derive(Clone, Debug)]
struct List<'a> {
    few: [Option<Field<'a>>; FEW],
    count: u8,
    others: Vec<Field<'a>>,
}

impl<'a> List<'a> {
    const EMPTY: Self = Self { few: [None; FEW], count: 0, others: Vec::new() };

    fn push(&mut self, field: Field<'a>) {
        match self.few.get_mut(usize::from(self.count)) {
            Some(place) => {
                *place = Some(field);
                self.count += 1;
            }
            None => self.others.push(field),
        }
    }
}

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    pub(crate) fn push(&mut self, name: &'a str, value: HttpFieldValue<'a>) {
        self.0.get_or_insert(List::EMPTY).push((name, value));
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Field<'a>> {
        self.0.iter().flat_map(|list| list.few.iter().flatten().chain(&list.others))
    }

    /// Whether each one may stand in a message: a name is a token (RFC 9110 §5.6.2), a value has no
    /// control bytes (§5.5), and what the engine writes itself is not given twice.
    pub(crate) fn check(&self, reserved: &Reserved) -> Result<()> {
        for (name, value) in self.iter() {
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(bad(
                    "the name of a header field is a token: letters, digits, -_.!#$%&",
                ));
            }
            if reserved.names.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
                return Err(bad(reserved.why));
            }
            let ok = match value {
                HttpFieldValue::Text(text) => text.bytes().all(is_field_byte),
                HttpFieldValue::Number(_) => true,
                HttpFieldValue::Cookie(cookie) => cookie.is_sound(),
            };
            if !ok {
                return Err(bad(
                    "a value of a header field has no control bytes (a line break would \
                                begin another field)",
                ));
            }
        }
        Ok(())
    }
}

/// Fields that are not the application's to give.
pub(crate) struct Reserved {
    pub(crate) names: &'static [&'static str],
    pub(crate) why: &'static str,
}

/// Fields that say how an answer is framed.
pub(crate) const OF_ANSWERS: Reserved = Reserved {
    names: &["content-length", "transfer-encoding", "connection", "date"],
    why: "Content-Length, Transfer-Encoding, Connection and Date are written by zero-io; use the \
          methods of ZeroResponse",
};

const fn bad(why: &'static str) -> IoError {
    IoError::InvalidArgument { what: "header field", why }
}

/// RFC 9110 §5.6.2.
pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'!' | b'#' | b'$' | b'%' | b'&'
        | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// RFC 9110 §5.5: visible, blank, or of another character set.
pub(crate) const fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_split_an_answer_is_refused() {
        let rows: [(&str, &str, bool); 8] = [
            ("x-a", "plain", true),
            ("x-a", "with\ttab and ünïcode", true),
            ("x-a", "a\r\nset-cookie: b", false),
            ("x-a", "a\nb", false),
            ("x-a", "a\0", false),
            ("x a", "b", false),
            ("", "b", false),
            ("Content-length", "5", false),
        ];
        for (name, value, ok) in rows {
            let mut fields = Fields::new();
            fields.push(name, value.into());
            assert_eq!(fields.check(&OF_ANSWERS).is_ok(), ok, "{name:?}: {value:?}");
        }
    }

    #[test]
    fn many_keep_their_order() {
        let names: Vec<String> = (0..20).map(|i| format!("x-{i}")).collect();
        let mut fields = Fields::new();
        for (i, name) in names.iter().enumerate() {
            fields.push(name, HttpFieldValue::Number(i as u64));
        }
        let kept: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(kept, names);
    }
}
