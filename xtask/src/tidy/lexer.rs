//! Rust text with its comments and literals blanked out.
//!
//! Invariant: the result has the same length and the same line breaks as the input, so that a
//! byte offset in one is the same place in the other.

/// `text` with the inside of comments, strings and character literals replaced by blanks.
pub(crate) fn mask(text: &str) -> String {
    let mut lexer = Lexer { bytes: text.as_bytes(), at: 0, out: Vec::with_capacity(text.len()) };
    while lexer.at < lexer.bytes.len() {
        lexer.step();
    }
    // Only ASCII blanks were written over whole characters, or bytes copied as they were.
    String::from_utf8(lexer.out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into())
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(b"//") {
            let len = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            self.blank(len);
        } else if rest.starts_with(b"/*") {
            self.blank(block_comment_len(rest));
        } else if rest[0] == b'"' {
            self.blank(string_len(rest));
        } else if let Some(len) = self.raw_string_len() {
            self.blank(len);
        } else if let Some(len) = char_len(rest) {
            self.blank(len);
        } else {
            self.out.push(rest[0]);
            self.at += 1;
        }
    }

    fn blank(&mut self, len: usize) {
        for &byte in &self.bytes[self.at..self.at + len] {
            self.out.push(if byte == b'\n' { b'\n' } else { b' ' });
        }
        self.at += len;
    }

    /// Length of `r"..."`, `r#"..."#` and of those with `b` or `c` before, starting here.
    fn raw_string_len(&self) -> Option<usize> {
        let before = self.at.checked_sub(1).map(|i| self.bytes[i]);
        if before.is_some_and(is_word) {
            return None;
        }
        let rest = &self.bytes[self.at..];
        let prefix = usize::from(matches!(rest[0], b'b' | b'c'));
        if rest.get(prefix) != Some(&b'r') {
            return None;
        }
        let hashes = rest[prefix + 1..].iter().take_while(|&&b| b == b'#').count();
        let open = prefix + 1 + hashes;
        if rest.get(open) != Some(&b'"') {
            return None;
        }
        let mut end = vec![b'"'];
        end.resize(1 + hashes, b'#');
        let body = &rest[open + 1..];
        let close = body.windows(end.len()).position(|window| window == end);
        Some(close.map_or(rest.len(), |close| open + 1 + close + end.len()))
    }
}

/// Whether `byte` may be part of an identifier.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn block_comment_len(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string_len(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a character literal; `None` for a lifetime and for anything else.
fn char_len(rest: &[u8]) -> Option<usize> {
    if rest[0] != b'\'' {
        return None;
    }
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|&b| b == b'\'')?;
        return Some(close + 4);
    }
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]);
    let valid = text.or_else(|e| std::str::from_utf8(&rest[1..1 + e.valid_up_to()])).ok()?;
    let len = valid.chars().next()?.len_utf8();
    (rest.get(1 + len) == Some(&b'\'')).then_some(len + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kept: &str) {
        let masked = mask(text);
        assert_eq!(masked.len(), text.len(), "{text}");
        let words: Vec<_> = masked.split_whitespace().collect();
        assert_eq!(words.join(" "), kept, "{text}");
    }

    #[test]
    fn comments_and_literals_vanish_and_code_stays() {
        check("a // b\nc", "a c");
        check("a /* b /* c */ d */ e", "a e");
        check("let s = \"x // \\\" y\"; z", "let s = ; z");
        check("r#\"un\"safe\"# x", "x");
        check("br\"a\\\" x", "x");
        check("for_r\"a\" x", "for_r x");
        check(
            "let q = '\"'; let n = '\\n'; let u = '\\u{1F600}'; k",
            "let q = ; let n = ; let u = ; k",
        );
        check(
            "fn f<'a>(x: &'a str) -> &'static u8 { 'l: loop {} }",
            "fn f<'a>(x: &'a str) -> &'static u8 { 'l: loop {} }",
        );
        check("'é' x", "x");
        check("b'x' y", "b y");
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n/* b\n c */ d\n\"e\nf\" g\n";
        assert_eq!(mask(text).matches('\n').count(), text.matches('\n').count());
    }
}
