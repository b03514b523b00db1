//! The shape of `quic` without the feature: there is none, so nothing of it is ever run.

use zero_io::sim::World;

use crate::scenario::Seen;

pub(crate) const ON: bool = false;

pub(crate) fn run(_: &World) -> Seen {
    unreachable!("there is no QUIC without the feature quic")
}
