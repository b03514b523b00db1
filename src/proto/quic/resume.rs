//! [`Past`]: what a shard's connections have of earlier ones.

use std::collections::VecDeque;
use std::sync::Arc;

use super::time::Wall;
use super::tokens::Tokens;
use crate::config::SessionTicket;

/// Tickets that wait for a connection; what comes beyond puts the oldest out.
const TICKETS_MAX: usize = 256;

pub(crate) struct Past {
    pub(crate) wall: Arc<Wall>,
    pub(super) tokens: Arc<Tokens>,
    /// Tickets that the application gave, each for the next connection to its server.
    tickets: VecDeque<SessionTicket>,
}

impl Past {
    pub(crate) fn new(wall: Arc<Wall>) -> Self {
        Self { wall, tokens: Tokens::new(), tickets: VecDeque::new() }
    }

    /// Keeps a ticket for the next connection to its server.
    pub(crate) fn keep(&mut self, ticket: SessionTicket) {
        let name = ticket.server_name();
        self.tickets.retain(|kept| !kept.server_name().eq_ignore_ascii_case(name));
        if self.tickets.len() == TICKETS_MAX {
            self.tickets.pop_front();
        }
        self.tickets.push_back(ticket);
    }

    /// The ticket of a connection to `name`: the one that it was given, or one that was kept.
    pub(super) fn ticket(
        &mut self,
        name: &str,
        given: Option<&SessionTicket>,
    ) -> Option<SessionTicket> {
        let kept = || {
            let mut tickets = self.tickets.iter();
            let at = tickets.position(|t| t.server_name().eq_ignore_ascii_case(name))?;
            self.tickets.remove(at)
        };
        given.cloned().or_else(kept)
    }
}
