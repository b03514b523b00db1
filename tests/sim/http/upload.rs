//! Bodies of requests that were taken out of their events: read bit by bit, given up, or cut.

use zero_io::{BodyPart, BodyStream, ConnId, RequestId};

use super::Cx;
use super::plan::Ask;

/// Parts read in a round at most, while there are faults.
const PARTS: [usize; 4] = [0, 1, 3, 20];

pub(super) struct Upload {
    pub(super) conn: ConnId,
    pub(super) id: RequestId,
    ask: Ask,
    stream: BodyStream,
    got: usize,
}

/// How it stands after a look.
pub(super) enum Progress {
    /// So much of the body was read.
    Read(usize),
    /// There is no more of it, or nobody wants it.
    Over,
}

impl Upload {
    pub(super) const fn new(conn: ConnId, id: RequestId, ask: Ask, stream: BodyStream) -> Self {
        Self { conn, id, ask, stream, got: 0 }
    }

    /// Reads some, and compares it with what was sent.
    pub(super) fn read(&mut self, cx: &mut Cx) -> Progress {
        let max = if cx.is_liveness { usize::MAX } else { cx.chance.pick(&PARTS) };
        if !cx.is_liveness && cx.chance.once_in(100) {
            return Progress::Over;
        }
        for _ in 0..max {
            match self.stream.try_next() {
                None => break,
                Some(BodyPart::Chunk(chunk)) => {
                    let end = self.got + chunk.len();
                    let sent = self.ask.body.get(self.got..end);
                    assert!(!chunk.is_empty() && sent == Some(&*chunk), "a body's bytes");
                    self.got = end;
                }
                Some(BodyPart::End) => {
                    assert_eq!(self.got, self.ask.body.len(), "the end of a body");
                    return Progress::Over;
                }
                Some(BodyPart::Cut { error_code }) => {
                    assert!(error_code != 0, "it is cut for a reason");
                    return Progress::Over;
                }
                Some(other) => panic!("{other:?}"),
            }
        }
        Progress::Read(self.got)
    }
}
