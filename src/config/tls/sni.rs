//! Certificates by server name: exact names, and wildcards of one left-most label.
//!
//! Role: what a name may be (RFC 1034 §3.5 as hosts use it, RFC 9525 §6.3 for wildcards) and the
//! table. Not role: certificates.
//!
//! Invariant: a name that a peer sends is looked up without allocating, and whatever is no host
//! name matches nothing.

use std::collections::HashMap;
use std::fmt;

use crate::error::TlsConfigFault as Fault;

use super::error::TlsConfigError;

/// RFC 1035 §2.3.4: 255 bytes on the wire, which are 253 characters without the final dot.
const NAME_LEN_MAX: usize = 253;
const LABEL_LEN_MAX: usize = 63;
/// The left-most label that stands for all others when a wildcard is tried on a certificate.
const SAMPLE_LABEL: &str = "any";

/// A name of the table, in lower case: `example.com` or `*.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SniName {
    host: Box<str>,
    is_wildcard: bool,
}

impl SniName {
    pub(super) fn parse(name: &str) -> Result<Self, TlsConfigError> {
        let (is_wildcard, host) = match name.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let mut buffer = [0; NAME_LEN_MAX];
        let host = fold(host, &mut buffer);
        let host = host.filter(|host| !is_wildcard || host.len() + 2 <= NAME_LEN_MAX);
        match host {
            Some(host) => Ok(Self { host: host.into(), is_wildcard }),
            None => Err(TlsConfigError::because(Fault::BadServerName, format!("{name:?}"))),
        }
    }

    /// A host that the name stands for.
    pub(super) fn sample(&self) -> String {
        match self.is_wildcard {
            true => format!("{SAMPLE_LABEL}.{}", self.host),
            false => self.host.to_string(),
        }
    }
}

impl fmt::Display for SniName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_wildcard { "*." } else { "" }, self.host)
    }
}

/// `host` in lower case, if it is a host name. Labels have letters, digits, `-` inside and `_`.
fn fold<'a>(host: &str, buffer: &'a mut [u8; NAME_LEN_MAX]) -> Option<&'a str> {
    let lower = buffer.get_mut(..host.len())?;
    lower.copy_from_slice(host.as_bytes());
    lower.make_ascii_lowercase();
    let lower = &*lower;
    let is_label = |label: &[u8]| {
        let inside = |&byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        (1..=LABEL_LEN_MAX).contains(&label.len())
            && label.iter().all(inside)
            && label.first() != Some(&b'-')
            && label.last() != Some(&b'-')
    };
    let is_host = lower.split(|&byte| byte == b'.').all(is_label);
    std::str::from_utf8(lower).ok().filter(|_| is_host)
}

/// What is known by name.
#[derive(Debug)]
pub(super) struct NameTable<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows the left-most label.
    wildcards: HashMap<Box<str>, T>,
}

impl<T> NameTable<T> {
    pub(super) fn new() -> Self {
        Self { exact: HashMap::new(), wildcards: HashMap::new() }
    }

    /// `false`: the name is there already.
    #[must_use]
    pub(super) fn insert(&mut self, name: SniName, value: T) -> bool {
        let names = if name.is_wildcard { &mut self.wildcards } else { &mut self.exact };
        names.insert(name.host, value).is_none()
    }

    /// The entry for a host: its own, otherwise the wildcard that its other labels have. A wildcard
    /// stands for one label: RFC 9525 §6.3.
    pub(super) fn find(&self, host: &str) -> Option<&T> {
        let mut buffer = [0; NAME_LEN_MAX];
        let host = fold(host, &mut buffer)?;
        let wildcard = || self.wildcards.get(host.split_once('.')?.1);
        self.exact.get(host).or_else(wildcard)
    }

    /// The entry of that very name.
    pub(super) fn entry(&self, name: &SniName) -> Option<&T> {
        let names = if name.is_wildcard { &self.wildcards } else { &self.exact };
        names.get(&name.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_table() {
        let long_label = "a".repeat(63);
        let longest = [long_label.as_str(); 4].join(".")[..253].to_owned();
        let good: &[(&str, &str)] = &[
            ("example.com", "example.com"),
            ("Example.COM", "example.com"),
            ("localhost", "localhost"),
            ("*.Example.com", "*.example.com"),
            ("*.local", "*.local"),
            ("_sip._tcp.example.com", "_sip._tcp.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1.example", "1.example"),
            (&longest, &longest),
        ];
        for (name, shown) in good {
            assert_eq!(SniName::parse(name).unwrap().to_string(), *shown);
        }
        let bad = [
            "",
            ".",
            "*",
            "*.",
            "*.*.example.com",
            "a.*.example.com",
            "f*.example.com",
            "**.example.com",
            "example.com.",
            ".example.com",
            "a..example.com",
            "-a.example.com",
            "a-.example.com",
            "b\u{fc}cher.example",
            "a b.example",
            "a/b",
            "a\0b",
            "a:443",
            "[::1]",
            &format!("{}.example", "a".repeat(64)),
            &format!("{longest}a"),
            &format!("*.{longest}"),
        ];
        for name in bad {
            let error = SniName::parse(name).unwrap_err();
            assert_eq!(error.fault(), Fault::BadServerName, "{name}");
        }
    }

    #[test]
    fn lookups_of_what_peers_send() {
        let mut table = NameTable::new();
        for (i, name) in ["example.com", "*.example.com", "a.b.example.com", "*.b.example.com"]
            .into_iter()
            .enumerate()
        {
            assert!(table.insert(SniName::parse(name).unwrap(), i));
        }
        let rows: &[(&str, Option<usize>)] = &[
            ("example.com", Some(0)),
            ("EXAMPLE.com", Some(0)),
            ("www.example.com", Some(1)),
            ("WWW.Example.Com", Some(1)),
            ("xn--bcher-kva.example.com", Some(1)),
            ("b.example.com", Some(1)),
            ("a.b.example.com", Some(2)),
            ("c.b.example.com", Some(3)),
            // One label, not two, and not none.
            ("a.c.example.com", None),
            ("x.a.b.example.com", None),
            ("com", None),
            ("example.org", None),
            ("badexample.com", None),
            // No host names.
            ("", None),
            (".", None),
            ("*.example.com", None),
            (".example.com", None),
            ("..example.com", None),
            ("example.com.", None),
            ("www.example.com.", None),
            ("-.example.com", None),
            ("b\u{fc}cher.example.com", None),
            ("\u{212a}.example.com", None),
            ("a\0.example.com", None),
            ("a b.example.com", None),
            (&format!("{}.example.com", "a".repeat(63)), Some(1)),
            (&format!("{}.example.com", "a".repeat(64)), None),
            (&format!("{}example.com", "a.".repeat(122)), None),
            (&"a".repeat(100_000), None),
        ];
        for (host, expected) in rows {
            assert_eq!(table.find(host).copied(), *expected, "{host}");
        }
        let entry = |name: &str| table.entry(&SniName::parse(name).unwrap()).copied();
        assert_eq!(entry("*.EXAMPLE.com"), Some(1));
        assert_eq!(entry("www.example.com"), None);
        assert!(!table.insert(SniName::parse("EXAMPLE.com").unwrap(), 9));
    }
}
