//! The shape of `http_client` without the feature: there are no pools.

use super::Engine;
use crate::conn::Conn;
use crate::event::Event;
use crate::event::http_client::ClientKind;
use crate::ids::ConnId;
use crate::proto::http1::Writing;
use crate::time::Time;

pub(super) struct Clients;

#[expect(clippy::unused_self, reason = "the same shape as with the feature")]
impl Clients {
    pub(super) const fn new() -> Self {
        Self
    }

    pub(super) const fn forget(&mut self) {}

    pub(super) const fn has_notice(&self) -> bool {
        false
    }

    pub(super) const fn has_work(&self) -> bool {
        false
    }

    pub(super) const fn next_due(&self) -> Time {
        Time::MAX
    }

    pub(super) const fn is_idle(&self) -> bool {
        true
    }
}

#[expect(clippy::unused_self, reason = "the same shape as with the feature")]
#[expect(clippy::needless_pass_by_ref_mut, reason = "the same shape as with the feature")]
impl Engine {
    pub(super) const fn run_http_clients(&mut self) {}

    pub(super) const fn client_looks(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn client_fed(&mut self, _: u32) {}

    pub(super) const fn client_eof(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn client_ending(&mut self, _: u32, code: u64, clean: bool) -> (u64, bool) {
        (code, clean)
    }

    pub(super) const fn client_ended(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn is_client(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn rests_in_pool(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn client_opened(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn client_deadline(_: &mut Conn, _: Time) -> Time {
        Time::MAX
    }

    pub(super) const fn client_armed(_: &mut Conn, _: Time) {}

    pub(super) const fn client_overdue(&mut self, _: ConnId) {}

    pub(super) const fn client_event<'a>(
        &mut self,
        kind: ClientKind,
        _: ConnId,
        _: u64,
        _: &'a [u8],
    ) -> Option<Event<'a>> {
        match kind {}
    }

    pub(super) const fn next_client_notice<'a>(&mut self) -> Option<Event<'a>> {
        None
    }

    pub(super) const fn client_writing(&mut self, _: ConnId, _: u64) -> Option<Writing> {
        None
    }

    pub(super) const fn client_wrote(&mut self, _: u32, _: usize) {}

    pub(super) const fn client_wrote_all(&mut self, _: u32) -> bool {
        false
    }
}
