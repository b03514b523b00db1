//! The shape of `quic` without the feature: there is none, so nothing of it is ever run.

use zero_io::{ClusterConfig, ConnId, Io, IoCluster, StreamId};

use crate::chance::Chance;

pub(super) const ON: bool = false;

const NONE: &str = "there is no QUIC without the feature quic";

pub(super) struct Quic;

impl Quic {
    pub(super) fn configure(_: &mut ClusterConfig, _: &mut Chance) {
        unreachable!("{NONE}")
    }

    pub(super) fn new(_: &mut Chance) -> Self {
        unreachable!("{NONE}")
    }

    pub(super) fn listen(&self, _: &mut IoCluster, _: &mut Chance) -> bool {
        unreachable!("{NONE}")
    }

    pub(super) fn connect(&self, _: &mut Io, _: &mut Chance) -> Option<ConnId> {
        unreachable!("{NONE}")
    }
}

pub(super) fn open(_: &mut Io, _: ConnId) -> Option<StreamId> {
    unreachable!("{NONE}")
}

pub(super) fn local(_: &mut Io, _: ConnId) -> Option<u16> {
    unreachable!("{NONE}")
}
