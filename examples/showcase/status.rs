//! The status line: what was served since the last one, and at what cost.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal, Write, stdout};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use zero_io::{Event, Io, PressureState};

use super::http::Web;

/// Counts allocations, those of the standard library included.
struct CountingAllocator(AtomicU64);

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator(AtomicU64::new(0));

#[derive(Default)]
pub(super) struct Status {
    connections: u64,
    messages: u64,
    /// Since the last line.
    recent: u64,
    bytes: u64,
    copied_before: u64,
    allocations_before: u64,
    since: Option<Instant>,
    /// What the other shards said of themselves last: connections, messages, bytes, copied bytes.
    others: BTreeMap<u64, [u64; 4]>,
}

impl Status {
    pub(super) fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Connected { .. } => self.connections += 1,
            Event::Disconnected { .. } => self.connections -= 1,
            Event::StreamFrame { data, .. } | Event::UdpRecv { data, .. } => {
                self.recent += 1;
                self.bytes += data.len() as u64;
            }
            _ => {}
        }
    }

    /// What another shard says of itself: connections now, and since it began messages, and bytes
    /// that came and that were copied.
    pub(super) fn hear(&mut self, shard: u64, report: &[u8]) {
        let mut words = report
            .chunks_exact(8)
            .map(|word| word.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte)));
        let report = std::array::from_fn(|_| words.next().unwrap_or(0));
        let before = self.others.insert(shard, report).unwrap_or_default();
        self.recent += report[1] - before[1];
        self.bytes += report[2] - before[2];
    }

    /// That of this shard.
    pub(super) fn report(&mut self, io: &Io) -> Vec<u8> {
        self.messages += std::mem::take(&mut self.recent);
        let words = [self.connections, self.messages, self.bytes, copied(io)];
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Hands the figures to the page that shows them.
    pub(super) fn tell(&self, io: &mut Io, web: &mut Web) {
        web.note(io, self.connections, self.messages);
    }

    pub(super) fn print(&mut self, io: &Io) -> io::Result<()> {
        let others = |at: usize| self.others.values().map(|report| report[at]).sum::<u64>();
        let (connections, copied) = (self.connections + others(0), copied(io) + others(3));
        let allocations = ALLOCATOR.0.load(Relaxed);
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

/// Bytes of payload that were copied.
fn copied(io: &Io) -> u64 {
    let stats = io.io_stats();
    stats.bytes_copied_rx + stats.bytes_copied_tx
}

/// Whoever read the output has gone, as `head` does.
pub(super) fn is_unread(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
}
