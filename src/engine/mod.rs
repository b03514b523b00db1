//! One tick: the place where everything is wired together.
//!
//! ```text
//! poll:  flush what is to be sent → lend buffers → enter the kernel (spin, sleep): none of it
//!        while completions of the last time wait
//!        → returned buffers → commands of handles → mail of shards → stalled bytes → completions
//!        → commands that waited → accepts and datagrams → connection timers → pressure → audit
//! ```
//!
//! Role: order, and who is asked when. Not role: the parts, each in its own file of this folder.
//!
//! *Invariants*
//! - Nothing is dropped for want of room in the event queue: its producers are not run until there
//!   is.
//! - `poll` does not sleep while an event waits or while there is something that only this thread
//!   can do.
//! - One look at the clock per tick (one more before a sleep that a timer or a spin may end).

mod accept;
mod audit;
mod command;
mod connect;
mod end;
mod events;
pub(crate) mod fleet;
#[cfg(feature = "http")]
mod http;
#[cfg(not(feature = "http"))]
#[path = "http_off.rs"]
mod http;
#[cfg(feature = "http-client")]
mod http_client;
#[cfg(not(feature = "http-client"))]
#[path = "http_client_off.rs"]
mod http_client;
mod ktls;
mod lists;
mod ops;
mod parked;
mod preface;
#[cfg(feature = "quic")]
pub(crate) mod quic;
#[cfg(not(feature = "quic"))]
#[path = "quic_off.rs"]
pub(crate) mod quic;
mod race;
mod recv;
mod seal;
mod send;
mod spin;
mod timers;
mod tls;
mod udp;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Effective};
use crate::conn::guard::Guards;
use crate::conn::table::Table;
use crate::conn::tx::{Blocks, Segments};
use crate::conn::{Flags, Phase};
use crate::error::Result;
use crate::event::inbox::Inbox;
use crate::pool::{Cascade, Class, Pool, PressureState, Use};
use crate::ring::{Completion, Fd, Op, Ring, Tag, Token, Wait};
use crate::stats::IoStats;
use crate::sync::gate::Gate;
use crate::sync::mpsc::Consumer;
use crate::sys::batch::SendBatch;
use crate::time::Time;
use crate::time::wheel::Wheel;
use crate::transport::Endpoints;
pub(crate) use command::{Command, Requests};
use connect::Plans;
pub(crate) use events::peer_addr;
use fleet::Fleet;
pub(crate) use http::HttpPlan;
use lists::{Lists, starved_bit};
use parked::Parked;
pub(crate) use quic::{QuicCommand, QuicPlan};
use spin::Spinner;
use udp::Notes;

/// The provided-buffer group of stream receives.
const STREAM_GROUP: u16 = 0;
/// Events that one completion may make besides those that can stall: room that must be free before
/// it is taken.
const ROOM_PER_COMPLETION: usize = 2;
/// Completions moved out of the ring at a time.
const REAP_MAX: usize = 256;
/// Ticks that one batch of completions may take before what they made is sent.
const BATCH_TICKS_MAX: u32 = 16;
/// Completions handled in one tick at most, so that events are handed out in time.
const COMPLETIONS_PER_TICK_MAX: usize = 8192;

/// Everything that one `Io` is.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) ring: Ring,
    pub(crate) pool: Pool,
    pub(crate) inbox: Inbox,
    pub(crate) conns: Table,
    segments: Segments,
    blocks: Blocks,
    guards: Guards,
    pub(crate) endpoints: Endpoints,
    notes: Notes,
    plans: Plans,
    watches: timers::Watches,
    /// Deadlines of connections; the data is the `ConnId`.
    conn_timers: Wheel,
    /// The application's timers; the data is its token.
    user_timers: Wheel,
    lists: Lists,
    http: http::Hub,
    quic: quic::Hub,
    clients: http_client::Clients,
    proxied: preface::Proxied,
    commands: Consumer<Command>,
    /// The oldest one, a post, when it found no room.
    post_waits: Option<Command>,
    /// Those that wait for their connection.
    parked: Parked,
    /// A command waits, or there is a fleet: one look for what hardly ever is.
    looks_further: bool,
    /// The other shards, if this one has joined some.
    fleet: Option<Box<Fleet>>,
    producer: Requests,
    gate: Arc<Gate>,
    cascade: Cascade,
    /// Up to this many segments nothing changes while all is `Healthy`.
    segments_calm_max: usize,
    spinner: Spinner,
    send_batch: Box<SendBatch>,
    /// Completions that were taken from the ring and not handled yet.
    reaped: Box<[Completion]>,
    reaped_at: usize,
    reaped_len: usize,
    /// Ticks that the batch has taken so far.
    batch_ticks: u32,
    trace: audit::Trace,
    /// Stream buffers to keep with the kernel.
    lend_target: u32,
    /// How many of them, as of this tick: below it, what comes home is lent again at once.
    lend_now: u32,
    /// The kernel has no TLS: it is not asked again.
    ktls_absent: bool,
    pub(crate) now: Time,
    pub(crate) stats: IoStats,
    pub(crate) effective: Effective,
}

impl Engine {
    pub(crate) fn new(config: Config, mut ring: Ring) -> Result<Self> {
        let effective = ring.effective();
        let cascade = Cascade::new(config.pool_pressure_pct);
        let pool = Pool::new(&config, ring.waker(), |count| cascade.calm_max(count))?;
        let (producer, commands) = command::requests(&config);
        let entries = config.stream_buffer_count.next_power_of_two() as u16;
        ring.group_register(STREAM_GROUP, entries)?;
        ring.arm_wake();
        let now = ring.now();
        let effective = Effective { huge_pages: pool.huge(), ..effective };
        let conns = config.max_connections;
        let lend_target = recv::LEND_MIN.min(config.stream_buffer_count as u32);
        Ok(Self {
            inbox: Inbox::new(config.max_events_per_poll + ROOM_PER_COMPLETION),
            conns: Table::new(conns),
            segments: Segments::new(config.send_queue_entries),
            blocks: Blocks::new(conns),
            guards: Guards::new(config.guard_count),
            endpoints: Endpoints::new(config.max_endpoints),
            notes: Notes::new(&pool),
            plans: Plans::default(),
            watches: timers::Watches::new(config.max_watches),
            conn_timers: Wheel::with_capacity(conns + quic::Hub::timers_max(conns)),
            user_timers: Wheel::with_capacity(config.max_timers),
            lists: Lists::new(conns, config.max_endpoints),
            http: http::Hub::new(),
            quic: quic::Hub::new(conns),
            clients: http_client::Clients::new(),
            proxied: preface::Proxied::default(),
            commands,
            post_waits: None,
            parked: Parked::new(producer.capacity()),
            looks_further: false,
            fleet: None,
            producer,
            gate: Arc::new(Gate::new()),
            segments_calm_max: cascade.calm_max(config.send_queue_entries as u32) as usize,
            cascade,
            spinner: Spinner::new(config.spin),
            send_batch: Box::new(SendBatch::new()),
            reaped: vec![Completion::EMPTY; REAP_MAX].into_boxed_slice(),
            reaped_at: 0,
            reaped_len: 0,
            batch_ticks: 0,
            trace: audit::Trace::new(config.debug.trace_completions),
            lend_target,
            lend_now: 0,
            ktls_absent: false,
            now,
            stats: IoStats::default(),
            effective,
            pool,
            ring,
            config,
        })
    }

    /// One tick.
    pub(crate) fn tick(&mut self, timeout: Duration) -> Result<()> {
        self.stats.polls += 1;
        self.run_http_clients();
        if !self.batch_goes_on() {
            self.flush();
            self.lend();
            // Before every sleep: a handle that finds the reserve empty has no command to wake us
            // with.
            self.pool.refill_reserve();
            self.wait(timeout)?;
        }
        self.now = self.ring.now();
        self.reclaim();
        self.inbox.reopen(self.lists.endpoint_work);
        self.run_commands();
        self.run_uploads();
        self.resume_stalled();
        self.resume_http();
        self.run_completions();
        if self.looks_further {
            // Room goes to those that waited for it, before the application hears of it.
            self.run_parked();
        }
        self.inbox.open_to_endpoints();
        self.run_endpoints();
        self.run_conn_timers();
        self.quic.rest();
        self.serve_buffer_waiters();
        self.update_pressure();
        if self.config.debug.audit_every_tick {
            self.audit();
        }
        Ok(())
    }

    /// Whether completions that were taken together still make events: then the kernel is not
    /// asked for anything yet, and what all of them make is sent at once. Few buffers or a long
    /// batch end that.
    #[inline]
    fn batch_goes_on(&mut self) -> bool {
        let goes_on = self.has_taken()
            && self.batch_ticks < BATCH_TICKS_MAX
            && self.pressure() == PressureState::Healthy;
        self.batch_ticks = if goes_on { self.batch_ticks + 1 } else { 0 };
        goes_on
    }

    /// Whether completions were taken from the ring, and not handled to their end.
    #[inline]
    const fn has_taken(&self) -> bool {
        self.reaped_at < self.reaped_len || self.lists.stalled.is_some()
    }

    /// Whether `next_event` has something to hand out.
    pub(crate) fn has_event(&self) -> bool {
        !self.inbox.is_empty()
            || self.guards.has_done()
            || self.clients.has_notice()
            || self.user_timers.has_due()
            || self.lists.has_notice()
            || self.cascade.has_news()
    }

    /// Whether there is something to do that no completion will announce.
    fn has_local_work(&self) -> bool {
        self.has_event()
            || self.has_taken()
            || self.lists.endpoint_work
            || self.http.has_work()
            || self.clients.has_work()
            || self.has_command_to_run()
            || self.can_go_on()
    }

    /// Whether something that waits for room would find it: it came back since the last tick, with
    /// the events that were handed out.
    fn can_go_on(&self) -> bool {
        let lists = &self.lists;
        let is_starved = |class| lists.endpoint_starved & starved_bit(class) != 0;
        let received = [Class::Slots, Class::Gro].into_iter();
        received.filter(|class| is_starved(*class)).any(|class| self.pool.has_for(class, Use::Rx))
            || (!lists.buffer_waiters.is_empty() && self.can_serve_buffer_waiters())
    }

    /// Enters the kernel if that can do anything, and sleeps if nothing else is to be done.
    fn wait(&mut self, timeout: Duration) -> Result<()> {
        if self.pressure() != PressureState::Healthy {
            // It may have fallen since the last tick.
            self.update_pressure();
        }
        if timeout.is_zero() || self.has_local_work() {
            if !self.ring.has_work() {
                return Ok(());
            }
            self.stats.enters += 1;
            return self.ring.enter(Wait::None);
        }
        let due = self.next_due();
        if due.is_never() && !self.spinner.is_wanted() {
            return self.block(Wait::up_to(timeout)).map(drop);
        }
        self.now = self.ring.now();
        let deadline = self.now.saturating_add(timeout).min(due);
        if self.spinner.is_on() && self.spin(deadline) {
            self.stats.enters += 1;
            return self.ring.enter(Wait::None);
        }
        let wait = if deadline.is_never() {
            Wait::Forever
        } else {
            Wait::up_to(deadline.saturating_since(self.now))
        };
        let wait = self.block(wait)?;
        self.spinner.slept(self.now, wait, &mut self.ring);
        Ok(())
    }

    /// When something falls due that no completion announces.
    fn next_due(&self) -> Time {
        let wheels = [&self.conn_timers, &self.user_timers];
        let timers = wheels.into_iter().filter_map(Wheel::next_deadline);
        let others = [self.lists.retry_at, self.clients.next_due(), self.parked.due];
        timers.chain(others).fold(Time::MAX, Time::min)
    }

    /// Blocks until a completion or a wake-up, or for as long as it may; how long that was.
    fn block(&mut self, wait: Wait) -> Result<Wait> {
        let mut starved = self.lists.is_starved()
            || self.http.is_starved()
            || self.pressure() >= PressureState::Critical;
        if self.looks_further {
            starved |= self.fleet_is_starved();
            self.publish();
        }
        let is_called = self.gate.prepare_sleep();
        if starved {
            self.pool.shared().want_returns.prepare_sleep();
        }
        let has_work = is_called
            || self.has_command_to_run()
            || self.http.has_work()
            || (starved && self.pool.shared().has_returned());
        let wait = if has_work { Wait::None } else { wait };
        self.stats.enters += 1;
        let result = self.ring.enter(wait);
        self.gate.awake();
        if starved {
            self.pool.shared().want_returns.awake();
        }
        result.map(|()| wait)
    }

    /// Takes in the buffers that other threads dropped.
    fn reclaim(&mut self) {
        if self.pool.shared().has_returned() {
            self.pool.reclaim();
            self.settle_credits();
        }
        self.quic_reclaim();
    }

    /// Handles completions while there is room for what they make.
    fn run_completions(&mut self) {
        let mut budget = COMPLETIONS_PER_TICK_MAX;
        loop {
            if !self.run_reaped() || budget == 0 {
                return;
            }
            self.reaped_at = 0;
            self.reaped_len = self.ring.reap(&mut self.reaped);
            budget = budget.saturating_sub(self.reaped_len);
            if self.reaped_len == 0 {
                return;
            }
            self.stats.completions += self.reaped_len as u64;
        }
    }

    /// Handles the completions that were taken from the ring. Whether all were. Apart, since the
    /// loop has the registers for itself then.
    #[inline(never)]
    fn run_reaped(&mut self) -> bool {
        // Out of `self` for the moment, so that the loop need not look for it after each one.
        let reaped = std::mem::take(&mut self.reaped);
        let mut at = self.reaped_at;
        let waiting = reaped.get(at..self.reaped_len).unwrap_or_default();
        for completion in waiting {
            match completion.token.tag_bits() {
                // It makes no event that is queued.
                Tag::SEND => {
                    self.trace.note(completion);
                    self.on_send(completion);
                }
                _ if self.inbox.room() < ROOM_PER_COMPLETION => break,
                Tag::RECV => {
                    self.trace.note(completion);
                    self.on_recv(completion);
                }
                _ => self.dispatch_rare(*completion),
            }
            at += 1;
        }
        self.reaped = reaped;
        self.reaped_at = at;
        at >= self.reaped_len
    }

    /// One completion, but for the most frequent, to the part that waits for it.
    fn dispatch_rare(&mut self, completion: Completion) {
        debug_assert!(self.lists.stalled.is_none(), "it stalled for want of room");
        self.trace.note(&completion);
        match completion.token.tag() {
            Tag::Recv | Tag::Send => unreachable!("the caller looks for these first"),
            Tag::SendZc => self.on_send_zc(completion),
            Tag::Accept => self.on_acceptable(completion),
            Tag::UdpReadable => self.on_udp_readable(completion),
            Tag::UdpWritable => self.on_udp_writable(completion),
            Tag::Connect => self.on_connect(completion),
            Tag::Attempt => self.on_attempt(completion),
            Tag::Install => self.on_install(completion),
            Tag::Room => self.on_room(completion),
            Tag::Shutdown => self.on_shutdown(completion),
            Tag::Close => self.on_closed(completion),
            Tag::Watch => self.on_watch(completion),
            Tag::Wake if !completion.more() => self.ring.arm_wake(),
            Tag::Wake | Tag::Ignore => {}
        }
    }

    /// Recomputes the cascade; a transition becomes an event.
    #[inline]
    fn update_pressure(&mut self) {
        let calm = self.pool.note_use() && self.segments.used() <= self.segments_calm_max;
        if !calm || self.pressure() != PressureState::Healthy {
            self.recompute_pressure();
        }
    }

    /// Apart, so that a calm tick costs no call.
    #[inline(never)]
    fn recompute_pressure(&mut self) {
        let pools = self.pool_stats().pools;
        if let Some(info) = self.cascade.update(&pools) {
            crate::trace::pressure(&info);
            self.pool.set_strict(info.state >= PressureState::Warning);
            // Falling pressure lets listeners and sockets go on.
            self.lists.endpoint_work = true;
        }
    }

    pub(crate) fn pressure(&self) -> PressureState {
        self.cascade.state()
    }

    /// A way for other threads to reach this shard.
    pub(crate) fn handle_parts(&self) -> (Requests, Arc<Gate>) {
        (self.producer.clone(), Arc::clone(&self.gate))
    }

    /// Ends everything: what is under way is cancelled, descriptors are closed. Whether the kernel
    /// let go of all memory.
    pub(crate) fn shut_down(&mut self) -> bool {
        self.send_last_datagrams();
        self.leave();
        self.pool.shared().set_gone();
        let fds = self.close_all();
        // In a forked child the ring does nothing, and its descriptors are closed here.
        if self.ring.enter(Wait::None).is_err() {
            for fd in fds {
                self.ring.close_now(fd);
            }
        }
        let came_home = self.ring.shutdown();
        for index in self.endpoints.indices() {
            if let Some(endpoint) = self.endpoints.remove(index) {
                self.ring.close_now(endpoint.fd);
            }
        }
        came_home
    }

    /// Has the ring close the sockets of all connections, after what was asked of them before: a
    /// place in its file table keeps a socket open for as long as the kernel keeps the ring.
    fn close_all(&mut self) -> Vec<Fd> {
        let mut fds = Vec::new();
        for (index, conn) in self.conns.iter() {
            // A connection that is being closed has given its descriptor to the ring: its number
            // may be somebody else's by now.
            if conn.sock.fd < 0 || conn.phase == Phase::Closing {
                continue;
            }
            let sock = conn.sock;
            if conn.pinned > 0 || conn.has(Flags::SEND_IS_ZC) {
                // The kernel lets go of memory that the peer did not acknowledge.
                let _ = self.ring.linger_zero(sock.fd);
            }
            let or_nothing = conn.has(Flags::INSTALL_BUSY);
            if sock.is_fixed() || or_nothing {
                self.ring.push(Op::CloseSlot { slot: index, or_nothing }, Token::IGNORE);
            }
            self.ring.push(Op::CloseFd { fd: sock.fd }, Token::IGNORE);
            fds.push(sock.fd);
        }
        for fd in self.plans.attempts.fds() {
            self.ring.push(Op::CloseFd { fd }, Token::IGNORE);
            fds.push(fd);
        }
        fds
    }

    pub(crate) fn pressure_info(&self) -> crate::pool::PoolPressureInfo {
        self.cascade.info_at(&self.pool_stats().pools)
    }

    /// The kernel could not be made to let go of it: all memory that operations name, and that of
    /// guards, stays as it is for as long as the process lives.
    pub(crate) fn leak_memory(&mut self) {
        std::mem::forget(Arc::clone(self.pool.shared()));
        std::mem::forget(std::mem::replace(&mut self.guards, Guards::new(0)));
        std::mem::forget(std::mem::replace(&mut self.blocks, Blocks::new(0)));
        std::mem::forget(std::mem::replace(&mut self.conns, Table::new(0)));
        std::mem::forget(std::mem::take(&mut self.plans));
    }
}
