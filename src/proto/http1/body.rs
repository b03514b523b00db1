//! [`BodyTo`]: where the body that is being read goes, and for how long it may pause.

use std::time::Duration;

use super::HttpServer;
use crate::time::Time;

/// Where the body that is being read goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyTo {
    /// To the application, as events.
    Events,
    /// To another thread, by the shard's upload in that place.
    Upload { place: u32 },
    /// The same; it takes no more for now, and so nothing is read.
    Held { place: u32 },
    /// Nobody wants it.
    Nowhere,
}

impl BodyTo {
    /// The upload's place.
    pub(crate) const fn place(self) -> Option<u32> {
        match self {
            Self::Upload { place } | Self::Held { place } => Some(place),
            Self::Events | Self::Nowhere => None,
        }
    }

    pub(super) const fn is_held(self) -> bool {
        matches!(self, Self::Held { .. })
    }
}

/// The same with the moment since when it is so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyWay {
    pub(crate) to: BodyTo,
    pub(super) since: Time,
}

impl BodyWay {
    pub(super) const EVENTS: Self = Self { to: BodyTo::Events, since: Time::ZERO };

    /// How long nothing of the body may be read: because the client sends nothing, or because
    /// nobody takes it; then the client is not to blame, and nor is it read (`is_unread`).
    pub(super) const fn pause_max(self, server: &HttpServer, is_unread: bool) -> Option<Duration> {
        if self.to.is_held() || is_unread { server.request_timeout } else { server.receive_timeout }
    }

    /// When the pause is too long.
    pub(super) fn deadline(self, server: &HttpServer, last_rx: Time, is_unread: bool) -> Time {
        // What was held back may be old.
        let from = if self.to.is_held() { self.since } else { last_rx.max(self.since) };
        self.pause_max(server, is_unread).map_or(Time::MAX, |limit| from.saturating_add(limit))
    }
}
