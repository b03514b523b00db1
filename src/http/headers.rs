//! stub
/// fields
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpHeaders<'a> { block: &'a [u8] }
impl<'a> HttpHeaders<'a> {
    pub(crate) const fn new(block: &'a [u8]) -> Self { Self { block } }
    /// get
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        for line in self.block.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let at = line.iter().position(|b| *b == b':')?;
            if line[..at].eq_ignore_ascii_case(name.as_bytes()) { return std::str::from_utf8(line[at + 1..].trim_ascii()).ok(); }
        }
        None
    }
}
