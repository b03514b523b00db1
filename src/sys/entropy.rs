//! Entropy: getrandom(2).

use super::errno;
use crate::error::{IoError, Result};

/// Fills `out` with random bytes.
pub(crate) fn fill(mut out: &mut [u8]) -> Result<()> {
    while !out.is_empty() {
        // SAFETY: the pointer and the length are those of one slice.
        let got = unsafe { libc::getrandom(out.as_mut_ptr().cast(), out.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => out = &mut out[got..],
            Err(_) if errno() == libc::EINTR => {}
            Err(_) => return Err(IoError::os("getrandom", errno())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_all_of_it() {
        // A byte that stays zero in 16 draws was not written.
        let mut seen = [0_u8; 1000];
        for _ in 0..16 {
            let mut drawn = [0; 1000];
            fill(&mut drawn).unwrap();
            seen.iter_mut().zip(drawn).for_each(|(seen, drawn)| *seen |= drawn);
        }
        assert!(seen.iter().all(|byte| *byte != 0));
    }
}
