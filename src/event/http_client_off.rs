//! The shape of `http_client` without the feature.

/// Nothing that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientKind {}
