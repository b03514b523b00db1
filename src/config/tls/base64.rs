//! Base64, RFC 4648 §4, fed line by line. Strict: padding is due, and nothing follows it.

/// Bytes so far.
#[derive(Default)]
pub(super) struct Decoder {
    out: Vec<u8>,
    /// The last one to three characters, six bits each.
    bits: u32,
    characters: u8,
    padding: u8,
}

impl Decoder {
    /// Takes a piece, white space between characters included. `None`: not base64.
    pub(super) fn push(&mut self, piece: &[u8]) -> Option<()> {
        for &byte in piece.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            self.character(byte)?;
        }
        Some(())
    }

    fn character(&mut self, byte: u8) -> Option<()> {
        let value = match byte {
            b'=' if self.characters + self.padding >= 2 && self.padding < 2 => {
                self.padding += 1;
                return (self.characters + self.padding <= 4).then_some(());
            }
            _ if self.padding > 0 => return None,
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        self.bits = self.bits << 6 | u32::from(value);
        self.characters += 1;
        if self.characters == 4 {
            self.out.extend_from_slice(&self.bits.to_be_bytes()[1..]);
            (self.bits, self.characters) = (0, 0);
        }
        Some(())
    }

    /// Whether nothing came yet.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.characters == 0
    }

    /// The whole. `None`: it ends in the middle.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        // §3.5: the bits that padding leaves over must be zero.
        match (self.characters, self.padding) {
            (0, 0) => {}
            (2, 2) if self.bits.trailing_zeros() >= 4 => self.out.push((self.bits >> 4) as u8),
            (3, 1) if self.bits.trailing_zeros() >= 2 => {
                self.out.extend_from_slice(&((self.bits >> 2) as u16).to_be_bytes());
            }
            _ => return None,
        }
        Some(self.out)
    }
}

/// The whole of one text.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut decoder = Decoder::default();
    decoder.push(text.as_bytes())?;
    decoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4648_and_what_it_is_not() {
        // §10.
        let good: &[(&str, &[u8])] = &[
            ("", b""),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("Zm9v YmE=", b"fooba"),
            ("Zm9vYmFy", b"foobar"),
            ("AAAA", &[0, 0, 0]),
            ("AA==", &[0]),
            ("+/+/", &[0xfb, 0xff, 0xbf]),
        ];
        for (text, bytes) in good {
            assert_eq!(decode(text).as_deref(), Some(*bytes), "{text}");
        }
        let bad = [
            "Z", "Zg", "Zm8", "=", "==", "====", "Zg=", "Zg===", "Zg=a", "Zh==", "Zm9=", "Zm9v=",
            "Zm-v", "Zg==Zg==", "Zm9vY", "\u{e9}",
        ];
        for text in bad {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
