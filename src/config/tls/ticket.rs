//! [`SessionTicket`], and where the tickets of QUIC connections come from and go to.
//!
//! Role: one [`Tickets`] per connection, which the handshake asks and tells; what the connections
//! of one configuration share is [`Remembered`]. Not role: what is sent early.
//!
//! *Invariants*
//! - A ticket is used once, whoever has clones of it: RFC 8446 §C.4.
//! - A ticket of another protocol than QUIC never comes here: it would lack the limits that RFC
//!   9000 §7.4.1 wants remembered with it.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use super::shelf::{Shelf, hash};

/// Servers whose key exchange group is remembered.
const GROUPS_MAX: usize = 256;
/// Bits of a place that the group has; the others are the name's hash.
const GROUP_BITS: u32 = 16;

/// Connections of the same configuration may take it.
const FREE: u8 = 0;
/// The application has it, and decides.
const GIVEN: u8 = 1;
const USED: u8 = 2;

/// What a server gave a QUIC connection, with which another one to the same server resumes its
/// session: RFC 8446 §4.6.1. Opaque; it cannot be written down.
///
/// It is good for one connection: clones are the same ticket, and the first one that is connected
/// with has it. It belongs to the [`TlsClientConfig`](super::TlsClientConfig) of the connection
/// that it came on, or to clones of that: with another one there is a full handshake.
#[derive(Clone)]
pub struct SessionTicket(Arc<Ticket>);

struct Ticket {
    name: Box<str>,
    alpn: Option<Box<[u8]>>,
    takes_early_data: bool,
    state: AtomicU8,
    value: ArcSwapOption<Tls13ClientSessionValue>,
}

impl SessionTicket {
    fn new(name: &str, alpn: Option<&[u8]>, value: Tls13ClientSessionValue) -> Self {
        Self(Arc::new(Ticket {
            name: name.into(),
            alpn: alpn.map(Box::from),
            takes_early_data: value.max_early_data_size() > 0,
            state: AtomicU8::new(FREE),
            value: ArcSwapOption::from_pointee(value),
        }))
    }

    /// Who gave it: the name or address that the server's certificate is for.
    #[must_use]
    pub fn server_name(&self) -> &str {
        &self.0.name
    }

    /// The application protocol of the connection that it came on, which early data has to be in.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.0.alpn.as_deref()
    }

    /// Whether the server said that it takes early data with it.
    #[must_use]
    pub fn takes_early_data(&self) -> bool {
        self.0.takes_early_data
    }

    /// Whether it was connected with.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) == USED
    }

    /// For the application: no connection takes it of itself any more. `false` when one has.
    fn give(&self) -> bool {
        let (state, order) = (&self.0.state, Ordering::Relaxed);
        state.compare_exchange(FREE, GIVEN, order, order).unwrap_or_else(|now| now) != USED
    }

    /// For a connection that was not told to; `false` when it is used, or the application's.
    fn claim(&self) -> bool {
        let order = Ordering::Relaxed;
        self.0.state.compare_exchange(FREE, USED, order, order).is_ok()
    }

    fn take(&self) -> Option<Tls13ClientSessionValue> {
        self.0.state.store(USED, Ordering::Relaxed);
        Arc::into_inner(self.0.value.swap(None)?)
    }
}

impl fmt::Debug for SessionTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SessionTicket");
        shown.field("server_name", &self.0.name).field("is_used", &self.is_used());
        shown.finish_non_exhaustive()
    }
}

/// What the QUIC connections of a configuration remember for each other.
#[derive(Debug)]
pub(super) struct Remembered {
    tickets: Shelf<SessionTicket>,
    /// By the name's hash, the group that the server chose.
    groups: [AtomicU64; GROUPS_MAX],
}

impl Remembered {
    pub(super) fn new(tickets_max: usize) -> Self {
        let groups = std::array::from_fn(|_| AtomicU64::new(0));
        Self { tickets: Shelf::new(tickets_max), groups }
    }

    fn group(&self, name: &str) -> Option<NamedGroup> {
        let hash = hash(name);
        let found = self.groups.get(hash as usize % GROUPS_MAX)?.load(Ordering::Relaxed);
        let is_same = found != 0 && found >> GROUP_BITS == hash >> GROUP_BITS;
        is_same.then(|| NamedGroup::from(found as u16))
    }

    fn set_group(&self, name: &str, group: NamedGroup) {
        let hash = hash(name);
        if let Some(place) = self.groups.get(hash as usize % GROUPS_MAX) {
            let group = u64::from(u16::from(group));
            place.store(hash >> GROUP_BITS << GROUP_BITS | group, Ordering::Relaxed);
        }
    }

    /// A ticket that nobody else has or takes.
    fn take(&self, name: &str) -> Option<SessionTicket> {
        std::iter::from_fn(|| self.tickets.take(name)).find(SessionTicket::claim)
    }
}

/// The tickets of one connection: what it resumes with, and what it is given.
pub(crate) struct Tickets {
    with: Option<SessionTicket>,
    remembered: Arc<Remembered>,
    /// The application protocol, once it is agreed on: before any ticket comes.
    alpn: OnceLock<Option<Box<[u8]>>>,
    newest: ArcSwapOption<SessionTicket>,
}

impl Tickets {
    /// For a connection to `name`. `given` goes first.
    pub(super) fn new(
        remembered: &Arc<Remembered>,
        name: &str,
        given: Option<SessionTicket>,
    ) -> Self {
        Self {
            with: given.or_else(|| remembered.take(name)),
            remembered: Arc::clone(remembered),
            alpn: OnceLock::new(),
            newest: ArcSwapOption::empty(),
        }
    }

    /// Whether something can be sent early to a server that is offered these protocols. RFC 8446
    /// §4.2.10: the protocol of early data is the ticket's.
    pub(super) fn takes_early_data(&self, offered: &[Vec<u8>]) -> bool {
        self.with.as_ref().is_some_and(|ticket| {
            let is_offered = |alpn: &[u8]| offered.iter().any(|name| name == alpn);
            ticket.takes_early_data() && ticket.alpn().is_none_or(is_offered)
        })
    }

    /// The protocol was agreed on.
    pub(crate) fn agreed(&self, alpn: Option<&[u8]>) {
        self.alpn.get_or_init(|| alpn.map(Box::from));
    }

    /// The newest that came and was not used, for the application to keep.
    pub(crate) fn newest(&self) -> Option<SessionTicket> {
        let ticket = self.newest.load_full()?;
        ticket.give().then(|| SessionTicket::clone(&ticket))
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("with", &self.with).finish_non_exhaustive()
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.remembered.set_group(&server_name.to_str(), group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.remembered.group(&server_name.to_str())
    }

    // QUIC has no TLS 1.2.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        let name = server_name.to_str();
        let alpn = self.alpn.get().and_then(|alpn| alpn.as_deref());
        let ticket = SessionTicket::new(&name, alpn, value);
        self.newest.store(Some(Arc::new(ticket.clone())));
        self.remembered.tickets.put(&name, ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with.as_ref().and_then(SessionTicket::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_remembered_by_name() {
        let remembered = Remembered::new(4);
        assert_eq!(remembered.group("a.example"), None);
        remembered.set_group("a.example", NamedGroup::secp384r1);
        remembered.set_group("b.example", NamedGroup::X25519);
        assert_eq!(remembered.group("a.example"), Some(NamedGroup::secp384r1));
        remembered.set_group("a.example", NamedGroup::X25519MLKEM768);
        assert_eq!(remembered.group("a.example"), Some(NamedGroup::X25519MLKEM768));
        assert_eq!(remembered.group("c.example"), None);
    }

    #[test]
    fn a_ticket_is_sent_between_threads() {
        const fn check<T: Clone + Send + Sync>() {}
        check::<SessionTicket>();
    }
}
