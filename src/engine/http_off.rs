//! The shape of `http` without the feature: no connection speaks it.

use super::Engine;
use crate::conn::{Conn, Span};
use crate::error::Result;
use crate::event::http::HttpKind;
use crate::event::record::Record;
use crate::ids::ConnId;
use crate::proto::Speaks;
use crate::proto::http1::Reply;
use crate::time::Time;

/// None.
#[derive(Clone, Debug)]
pub(crate) enum HttpPlan {}

pub(super) struct Hub;

impl Hub {
    pub(super) const fn new() -> Self {
        Self
    }

    pub(super) const fn note(&mut self, kind: HttpKind, _: u64, _: u64) {
        match kind {}
    }

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) const fn forget(&mut self) {}

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) const fn has_work(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) const fn is_starved(&self) -> bool {
        false
    }
}

#[expect(clippy::unused_self, reason = "the same shape as with the feature")]
#[expect(clippy::needless_pass_by_ref_mut, reason = "the same shape as with the feature")]
impl Engine {
    pub(crate) const fn http_speaks(&self, plan: &HttpPlan) -> Speaks {
        match *plan {}
    }

    pub(super) const fn http_diverts(&mut self, _: u32, _: &Record) -> bool {
        false
    }

    pub(super) const fn run_uploads(&mut self) {}

    pub(super) const fn http_parks(&mut self, _: u32, _: Span) -> bool {
        false
    }

    pub(super) const fn http_holds(&mut self, _: u32, _: Span) -> bool {
        false
    }

    pub(super) const fn http_fed(&mut self, _: u32) {}

    pub(super) const fn resume_http(&mut self) {}

    pub(super) const fn http_wind_down(&mut self, _: u32) {}

    pub(super) const fn http_go_on(&mut self, _: u32) {}

    pub(super) const fn http_offer(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn http_told(&mut self, _: u32) {}

    pub(super) const fn http_try_again(&mut self, _: u32) {}

    pub(super) const fn http_eof(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn http_has_file(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn http_send_file(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn http_send_head(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn http_seal_file(&mut self, _: u32) {}

    pub(super) const fn http_drop_file(&mut self, _: u32) {}

    pub(super) const fn http_must_send(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn http_ends(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn http_ending(&mut self, _: u32, code: u64, clean: bool) -> (u64, bool) {
        (code, clean)
    }

    pub(super) const fn http_deadline(_: &mut Conn, _: Time) -> Time {
        Time::MAX
    }

    pub(super) const fn http_armed(_: &mut Conn, _: Time) {}

    pub(super) const fn http_overdue(&mut self, _: ConnId) {}

    pub(super) const fn http_reply(&mut self, _: ConnId, _: u64, reply: Reply) -> Result<()> {
        let _ = reply.copied_len();
        Ok(())
    }

    pub(super) const fn http_refuse(&mut self, _: u32, _: u16, _: u64) {}
}
