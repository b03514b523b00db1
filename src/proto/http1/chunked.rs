//! stub
use super::Refusal;
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunked { left: u64, st: u8 }
pub(crate) enum ChunkStep { Data { skip: usize, len: usize }, Skip { len: usize }, End { len: usize }, Bad(Refusal) }
impl Chunked {
    pub(crate) const fn new() -> Self { Self { left: 0, st: 0 } }
    pub(crate) fn step(&mut self, input: &[u8]) -> ChunkStep {
        if self.st == 1 { let n = (self.left as usize).min(input.len()); self.left -= n as u64; if self.left == 0 { self.st = 2; } return ChunkStep::Data { skip: 0, len: n }; }
        let b = input[0];
        match (self.st, b) {
            (0, b'\r') => {}
            (0, b'\n') => self.st = if self.left == 0 { 4 } else { 1 },
            (0, b) => { let Some(d) = (b as char).to_digit(16) else { return ChunkStep::Bad(Refusal { status: 400, code: 0x1_0401 }) }; self.left = self.left * 16 + u64::from(d); }
            (2, b'\r') => {}
            (2, _) => { self.st = 0; self.left = 0; }
            (4, b'\r') => {}
            _ => return ChunkStep::End { len: 1 },
        }
        ChunkStep::Skip { len: 1 }
    }
}
