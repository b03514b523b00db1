//! The few fields of an X.509 certificate that a configuration looks at, RFC 5280 §4.1.
//!
//! Role: issuer, subject, validity and public key, by walking the DER. Not role: verifying
//! anything: signatures, names and chains are the TLS library's.
//!
//! Invariant: a peer's certificate may come here, so nothing panics, and nothing is allocated.

/// A certificate's fields, each as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Certificate<'a> {
    /// The issuer's name, tag and length included.
    pub(super) issuer: &'a [u8],
    /// The subject's name, likewise.
    pub(super) subject: &'a [u8],
    /// Seconds since 1970.
    pub(super) not_before: i64,
    /// Seconds since 1970; the certificate is valid in this second.
    pub(super) not_after: i64,
    /// `SubjectPublicKeyInfo`, tag and length included: what pins hash.
    pub(super) public_key: &'a [u8],
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;

impl<'a> Certificate<'a> {
    /// `None`: not a certificate.
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut whole = Der(der);
        let mut certificate = Der(whole.take(SEQUENCE)?.content);
        if !whole.0.is_empty() {
            return None;
        }
        let mut fields = Der(certificate.take(SEQUENCE)?.content);
        if fields.0.first() == Some(&EXPLICIT_0) {
            fields.take(EXPLICIT_0)?; // version
        }
        fields.take(INTEGER)?; // serialNumber
        fields.take(SEQUENCE)?; // signature
        let issuer = fields.take(SEQUENCE)?.whole;
        let mut validity = Der(fields.take(SEQUENCE)?.content);
        let not_before = validity.time()?;
        let not_after = validity.time()?;
        let subject = fields.take(SEQUENCE)?.whole;
        let public_key = fields.take(SEQUENCE)?.whole;
        Some(Self { issuer, subject, not_before, not_after, public_key })
    }
}

/// Whether `der` is a sequence that begins with a sequence: an encrypted PKCS#8 key does (RFC 5958
/// §3), the others begin with a version.
pub(super) fn begins_with_sequence(der: &[u8]) -> bool {
    Der(der).take(SEQUENCE).is_some_and(|outer| Der(outer.content).take(SEQUENCE).is_some())
}

/// What is left to read.
struct Der<'a>(&'a [u8]);

struct Element<'a> {
    content: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Der<'a> {
    /// The next element, which must have that tag.
    fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        let (&[found, first], _) = self.0.split_first_chunk::<2>()?;
        // X.690 §10.1: the length is definite, in the fewest bytes.
        let (header, len) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81..=0x83 => {
                let bytes = usize::from(first & 0x7f);
                let len = self.0.get(2..2 + bytes)?;
                let len = len.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
                let is_shortest = len >= 0x80 && len >> (8 * (bytes - 1)) > 0;
                (2 + bytes, is_shortest.then_some(len)?)
            }
            _ => return None,
        };
        let (whole, rest) = self.0.split_at_checked(header + len)?;
        if found != tag {
            return None;
        }
        self.0 = rest;
        Some(Element { content: whole.get(header..)?, whole })
    }

    /// RFC 5280 §4.1.2.5: UTCTime until 2049, GeneralizedTime after, both with seconds and `Z`.
    fn time(&mut self) -> Option<i64> {
        match self.0.first() {
            Some(&UTC_TIME) => {
                let (year, rest) = digits(self.take(UTC_TIME)?.content)?;
                instant(if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            _ => {
                let (century, rest) = digits(self.take(GENERALIZED_TIME)?.content)?;
                let (year, rest) = digits(rest)?;
                instant(100 * century + year, rest)
            }
        }
    }
}

/// Two digits, and what follows.
fn digits(text: &[u8]) -> Option<(i64, &[u8])> {
    match text {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => {
            Some((i64::from((tens - b'0') * 10 + (ones - b'0')), rest))
        }
        _ => None,
    }
}

/// Seconds since 1970 of that year and the `MMDDHHMMSSZ` that follows it.
fn instant(year: i64, text: &[u8]) -> Option<i64> {
    let (month, text) = digits(text)?;
    let (day, text) = digits(text)?;
    let (hour, text) = digits(text)?;
    let (minute, text) = digits(text)?;
    let (second, text) = digits(text)?;
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && text == b"Z";
    if !fits || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days of the civil calendar, in years that begin in March, so that the odd day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(tag: u8, text: &str) -> Option<i64> {
        let mut der = vec![tag, text.len() as u8];
        der.extend_from_slice(text.as_bytes());
        Der(&der).time()
    }

    #[test]
    fn times() {
        let good = [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "000229120000Z", 951_825_600),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (UTC_TIME, "500101000000Z", -631_152_000),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ];
        for (tag, text, seconds) in good {
            assert_eq!(time(tag, text), Some(seconds), "{text}");
        }
        for text in ["", "7001010000Z", "701301000000Z", "700100000000Z", "700101240000Z", "x"] {
            assert_eq!(time(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(time(UTC_TIME, "700101000000+0100"), None);
        assert_eq!(time(INTEGER, "700101000000Z"), None);
    }

    #[test]
    fn a_certificate_cut_or_changed_anywhere_is_no_panic() {
        let signed = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
        let der = signed.cert.der().to_vec();
        let whole = Certificate::parse(&der).unwrap();
        assert_eq!(whole.issuer, whole.subject);
        assert!(whole.not_before < whole.not_after);
        for len in 0..der.len() {
            assert_eq!(Certificate::parse(&der[..len]), None);
        }
        for at in 0..der.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff, der[at] ^ 1] {
                let mut bad = der.clone();
                bad[at] = byte;
                let _ = Certificate::parse(&bad);
            }
        }
    }

    #[test]
    fn lengths_are_definite_and_shortest() {
        let bad: [&[u8]; 7] = [
            &[SEQUENCE, 0x80],
            &[SEQUENCE, 0x81, 0x01, 0],
            &[SEQUENCE, 0x82, 0, 0x80],
            &[SEQUENCE, 0x84, 0, 0, 0, 1, 0],
            &[SEQUENCE, 0x83, 0xff, 0xff, 0xff],
            &[SEQUENCE, 0xff],
            &[SEQUENCE],
        ];
        for der in bad {
            assert!(Der(der).take(SEQUENCE).is_none(), "{der:x?}");
        }
        assert!(Der(&[SEQUENCE, 0]).take(SEQUENCE).is_some());
    }
}
