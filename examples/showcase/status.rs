//! The status line: what was served since the last one, and at what cost.

use std::io::{self, IsTerminal, Write, stdout};
use std::time::Instant;

use zero_io::{Event, Io, PressureState};

use super::http::Web;
use super::others::{self, Others, connections, copied};

#[derive(Default)]
pub(super) struct Status {
    messages: u64,
    /// Since the last line.
    recent: u64,
    bytes: u64,
    copied_before: u64,
    allocations_before: u64,
    since: Option<Instant>,
    others: Others,
}

impl Status {
    pub(super) fn note(&mut self, event: &Event<'_>) {
        if let Event::StreamFrame { data, .. } | Event::UdpRecv { data, .. } = event {
            self.recent += 1;
            self.bytes += data.len() as u64;
        }
    }

    /// What another shard says of itself.
    pub(super) fn hear(&mut self, shard: u64, report: &[u8]) {
        let (messages, bytes) = self.others.hear(shard, report);
        self.recent += messages;
        self.bytes += bytes;
    }

    /// That of this shard.
    pub(super) fn report(&mut self, io: &Io) -> Vec<u8> {
        self.messages += std::mem::take(&mut self.recent);
        others::report([connections(io), self.messages, self.bytes, copied(io)])
    }

    /// Hands the figures to the page that shows them.
    pub(super) fn tell(&self, io: &mut Io, web: &mut Web) {
        web.note(io, connections(io), self.messages);
    }

    pub(super) fn print(&mut self, io: &Io) -> io::Result<()> {
        let others = self.others.sum();
        let (connections, copied) = (connections(io) + others[0], copied(io) + others[3]);
        let allocations = super::allocations::count();
        let seconds =
            self.since.replace(Instant::now()).map_or(0.5, |at| at.elapsed().as_secs_f64());
        let per = |n: u64, of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 };
        self.messages += self.recent;
        // A terminal shows one line that changes.
        let (start, end) = if stdout().is_terminal() { ("\r", "   ") } else { ("", "\n") };
        write!(
            stdout(),
            "{start}{} connections, {} messages, {:.0}/s, {:.2} copies and {:.2} allocations per \
             message, {:?}{end}",
            connections,
            self.messages,
            self.recent as f64 / seconds,
            per(copied - self.copied_before, self.bytes),
            per(allocations - self.allocations_before, self.recent),
            io.pool_pressure().map_or(PressureState::Healthy, |info| info.state),
        )?;
        stdout().flush()?;
        (self.copied_before, self.allocations_before) = (copied, allocations);
        (self.recent, self.bytes) = (0, 0);
        Ok(())
    }
}
