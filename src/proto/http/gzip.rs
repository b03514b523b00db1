//! Compressing the body of an answer, RFC 1952, by zlib-rs.
//!
//! Role: bytes in, fewer bytes out, in memory that is kept. Not role: which answers are worth it
//! (`http::coding`).
//!
//! *Invariant*: what is kept is one compressor (some 270 KiB) and one buffer of [`LEN_MAX`] bytes
//! at most, both made with the first answer that is compressed; later ones allocate nothing.

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

use super::http::coding::LEN_MAX;

/// As nginx and others: most of what is gained, at a fraction of the time of the usual 6.
const LEVEL: i32 = 3;
/// A window of 2^15 bytes; 16 more asks for the header and trailer of gzip.
const WINDOW_BITS: i32 = 15 + 16;

/// The compressor of a shard.
#[derive(Default)]
pub(crate) struct Gzip {
    deflate: Option<Deflate>,
    out: Vec<u8>,
}

impl Gzip {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether there is one.
    pub(crate) const IS_ON: bool = true;

    /// The compressed form of `body`, if that is less than `less_than` bytes.
    pub(crate) fn compress(&mut self, body: &[u8], less_than: usize) -> Option<&[u8]> {
        debug_assert!(body.len() <= LEN_MAX, "the caller looked at the length");
        let deflate = self.deflate.get_or_insert_with(|| {
            let config = DeflateConfig {
                window_bits: WINDOW_BITS,
                level: LEVEL,
                ..DeflateConfig::default()
            };
            Deflate::new_with_config(config)
        });
        deflate.reset();
        let room = less_than.min(body.len()).saturating_sub(1);
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        // Without room for all of it, it is not worth having.
        let ended = deflate.compress(body, self.out.get_mut(..room)?, DeflateFlush::Finish);
        match ended {
            Ok(Status::StreamEnd) => self.out.get(..deflate.total_out() as usize),
            Ok(Status::Ok | Status::BufError) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflated(bytes: &[u8]) -> Vec<u8> {
        let mut inflate = zlib_rs::Inflate::new(true, 15 + 16);
        let mut out = vec![0; LEN_MAX];
        let end = inflate.decompress(bytes, &mut out, zlib_rs::InflateFlush::Finish);
        assert_eq!(end, Ok(Status::StreamEnd));
        out.truncate(inflate.total_out() as usize);
        out
    }

    #[test]
    fn what_gets_smaller_comes_back() {
        let mut gzip = Gzip::default();
        for len in [100, 1000, 20_000, LEN_MAX] {
            let text: Vec<u8> =
                b"all work and no play ".iter().copied().cycle().take(len).collect();
            let small = gzip.compress(&text, len).expect("smaller").to_vec();
            assert!(small.len() < len && inflated(&small) == text, "{len}");
            let exact = small.len();
            assert!(gzip.compress(&text, exact).is_none());
            assert_eq!(gzip.compress(&text, exact + 1), Some(&small[..]));
        }
    }

    #[test]
    fn what_does_not_is_left_alone() {
        let mut gzip = Gzip::default();
        let mut noise = crate::rng::Rng::from_seed(7);
        let noise: Vec<u8> = (0..5000).map(|_| noise.below(256) as u8).collect();
        for body in [&b""[..], b"a", &noise] {
            assert!(gzip.compress(body, body.len()).is_none());
            assert!(gzip.compress(body, 0).is_none());
        }
        assert!(gzip.compress(&[b'a'; 500], 400).is_some(), "the one after it is not harmed");
    }
}
