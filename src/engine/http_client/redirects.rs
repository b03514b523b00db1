//! Redirects: a response that leads elsewhere becomes the next try of its request.
//!
//! *Invariant*: a redirect that is not followed is the application's, as it came.

use super::requests::{State, Traits, index_of};
use crate::engine::Engine;
use crate::http::HttpResponse;
use crate::ids::ConnId;
use crate::proto::http::{RedirectRules, Route};

/// What was done with a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Followed {
    /// Its request is on its way elsewhere.
    Yes,
    /// Its request failed meanwhile, which is told next: it goes nowhere.
    TooLate,
    /// It is the application's.
    No,
}

impl Engine {
    /// Follows a redirect, where that is wanted and possible.
    pub(super) fn follow(&mut self, key: u64, response: &HttpResponse<'_>) -> Followed {
        let status = response.status();
        let Some(request) = self.clients.requests.get(key) else { return Followed::No };
        if !(300..400).contains(&status) || !request.has(Traits::FOLLOWS) {
            return Followed::No;
        }
        if matches!(request.state, State::Failed(_)) {
            request.traits |= Traits::DROPS_BODY;
            return Followed::TooLate;
        }
        let Some(pool) = self.clients.pools.get(request.pool) else { return Followed::No };
        let Some(order) = &mut request.order else { return Followed::No };
        let config = &pool.config;
        let loses_tls = config.redirects_lose_tls;
        let rules = RedirectRules { count_max: config.redirects, loses_tls };
        let location = response.headers().get_bytes("location");
        if !order.follow(status, location, rules, &mut self.clients.url_scratch) {
            return Followed::No;
        }
        if order.url().is_https() && pool.tls.is_none() {
            // What `https` is to be spoken with is known from the first request for it on.
            pool.tls = crate::config::default_pool_tls().ok().flatten();
        }
        request.method = order.method;
        request.state = State::Waiting;
        request.conn = ConnId::from_u64(0);
        request.hop = request.hop.wrapping_add(1);
        request.traits |= Traits::SENT;
        request.traits.set(Traits::DROPS_BODY, response.body_follows());
        request.traits.remove(Traits::RETRIED | Traits::STREAMED | Traits::EXPECTS);
        request.traits.set(Traits::EXPECTS, order.head().expects_continue());
        let url = order.url();
        let route = Route::of(config.proxy.as_ref(), &url, order.is_upgrade());
        let is_safe = order.method.is_safe() && !order.is_upgrade();
        pool.stats.redirects += 1;
        // It was accepted before: there is room for it.
        pool.book.requeue(index_of(key), &route.key(url), is_safe);
        let pool = request.pool;
        self.clients.pools.set_due(pool);
        Followed::Yes
    }
}
