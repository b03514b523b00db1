//! Address tokens: those of servers that we connect to, and ours that were used. RFC 9000 §8.1.3.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use quinn_proto::{TokenLog, TokenReuseError, TokenStore};

use crate::config::{Shelf, UsedTokens};

/// Tokens of all servers together.
const TOKENS_MAX: usize = 256;
/// The longest token that is kept: it takes its place in every Initial packet.
const TOKEN_LEN_MAX: usize = 512;

/// The tokens that servers gave to connections of this shard, by their names.
#[derive(Debug)]
pub(crate) struct Tokens(Shelf<Bytes>);

impl Tokens {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Shelf::new(TOKENS_MAX)))
    }
}

impl TokenStore for Tokens {
    fn insert(&self, server_name: &str, token: Bytes) {
        if token.len() <= TOKEN_LEN_MAX {
            // It would keep the packet that it came in.
            self.0.put(server_name, Bytes::copy_from_slice(&token));
        }
    }

    fn take(&self, server_name: &str) -> Option<Bytes> {
        self.0.take(server_name)
    }
}

/// The tokens of a listener that were used.
pub(super) struct Used(pub(super) Arc<UsedTokens>);

impl TokenLog for Used {
    fn check_and_insert(
        &self,
        nonce: u128,
        issued: SystemTime,
        _: Duration,
    ) -> Result<(), TokenReuseError> {
        let since = issued.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.0.note(nonce, since.as_secs()) { Ok(()) } else { Err(TokenReuseError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_once_and_only_to_who_gave_it() {
        let tokens = Tokens::new();
        tokens.insert("a.example", Bytes::from_static(b"one"));
        tokens.insert("a.example", Bytes::from_static(b"two"));
        tokens.insert("b.example", Bytes::from(vec![0; TOKEN_LEN_MAX + 1]));
        assert_eq!(tokens.take("b.example"), None, "too long");
        assert_eq!(tokens.take("a.example").as_deref(), Some(&b"two"[..]));
        assert_eq!(tokens.take("a.example").as_deref(), Some(&b"one"[..]));
        assert_eq!(tokens.take("a.example"), None);
    }
}
