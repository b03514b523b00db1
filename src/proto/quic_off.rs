//! The shape of `quic` without the feature: there is none.

/// No connection.
#[derive(Debug)]
pub(crate) enum Session {}
