//! The shape of `http` without the feature.

use super::Event;
use crate::ids::ConnId;

/// Nothing that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HttpKind {}

pub(crate) fn event(kind: HttpKind, _: ConnId, _: u64, _: &[u8]) -> Event<'_> {
    match kind {}
}
