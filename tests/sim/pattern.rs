//! The bytes of every stream, known at every place in advance, plain or as messages.

use zero_io::{Frame, Framing, MessageKind};

/// The number of the flow, at the front of what a client sends.
pub(crate) const HEAD_LEN: usize = 8;
/// Bytes in front of a message: its length.
const PREFIX_LEN: usize = 2;
/// The longest payload of a message: longer than the smallest stream buffers.
const PAYLOAD_LEN_MAX: u64 = 3_000;

pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let x = (a ^ b.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Byte `at` of a direction.
pub(crate) fn byte(key: u64, dir: usize, at: u64) -> u8 {
    if dir == 0 && at < HEAD_LEN as u64 {
        return key.to_le_bytes()[at as usize];
    }
    let word = mix(key.wrapping_mul(2) + dir as u64 + 1, at / 8);
    word.to_le_bytes()[(at % 8) as usize]
}

/// Bytes `from..to` of a direction.
pub(crate) fn bytes(key: u64, dir: usize, from: u64, to: u64) -> Vec<u8> {
    (from..to).map(|at| byte(key, dir, at)).collect()
}

/// Message `number` of a direction, with its prefix. The first one of a client is the head.
pub(crate) fn message(key: u64, dir: usize, number: u64) -> Vec<u8> {
    let payload = if dir == 0 && number == 0 {
        key.to_le_bytes().to_vec()
    } else {
        let draw = mix(key + dir as u64, number);
        let len = if draw.is_multiple_of(4) { draw % PAYLOAD_LEN_MAX } else { draw % 60 };
        bytes(draw | 1 << 60, 1, 0, len)
    };
    let mut out = (payload.len() as u16).to_be_bytes().to_vec();
    out.extend(payload);
    out
}

fn next(bytes: &[u8]) -> Frame {
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX_LEN>() else {
        return Frame::Need(PREFIX_LEN);
    };
    let whole = PREFIX_LEN + usize::from(u16::from_be_bytes(*prefix));
    if bytes.len() < whole { Frame::Need(whole) } else { Frame::Ready(whole) }
}

/// How messages are cut.
pub(crate) fn framing() -> Framing {
    Framing::new(MessageKind::User(1), next)
}

/// What one side sends, produced as it is needed.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    key: u64,
    dir: usize,
    framed: bool,
    /// The next byte, or the next message.
    at: u64,
    /// Where it ends.
    pub(crate) goal: u64,
}

impl Source {
    pub(crate) const fn new(key: u64, dir: usize, framed: bool, goal: u64) -> Self {
        Self { key, dir, framed, at: 0, goal }
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.at >= self.goal
    }

    /// The next piece, of about `len` bytes.
    pub(crate) fn produce(&mut self, len: u64) -> Vec<u8> {
        if self.is_done() {
            return Vec::new();
        }
        if self.framed {
            let out = message(self.key, self.dir, self.at);
            self.at += 1;
            return out;
        }
        let end = (self.at + len).min(self.goal);
        let out = bytes(self.key, self.dir, self.at, end);
        self.at = end;
        out
    }
}

/// What one side must receive.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    key: u64,
    dir: usize,
    framed: bool,
    at: u64,
    pub(crate) len: u64,
}

impl Check {
    pub(crate) const fn new(key: u64, dir: usize, framed: bool) -> Self {
        Self { key, dir, framed, at: 0, len: 0 }
    }

    /// The prefix property, piece by piece.
    pub(crate) fn take(&mut self, data: &[u8]) {
        let expected = if self.framed {
            message(self.key, self.dir, self.at)
        } else {
            bytes(self.key, self.dir, self.at, self.at + data.len() as u64)
        };
        assert!(
            data == expected,
            "flow {} direction {}: not what was sent at {} ({} bytes, {} expected, first \
             difference {:?})",
            self.key,
            self.dir,
            self.at,
            data.len(),
            expected.len(),
            data.iter().zip(&expected).position(|(a, b)| a != b)
        );
        self.at += if self.framed { 1 } else { data.len() as u64 };
        self.len += data.len() as u64;
    }
}
