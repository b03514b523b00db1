//! How full everything is, and the one state that follows from it.
//!
//! `Healthy → Warning → Critical → Drain`, up at once, down only after falling [`HYSTERESIS_PCT`]
//! below the threshold.

/// How full is too full. `Warning` begins at `Config::pool_pressure_pct`; the other two divide
/// what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum PressureState {
    /// There is room: uses may borrow beyond their shares.
    #[default]
    Healthy,
    /// The shares 60/10/25/5 hold strictly. From `pool_pressure_pct` on; this state and the next
    /// two are left when the use has fallen 5 points below where they begin.
    Warning,
    /// New connections wait in the kernel's backlog, and a payload that is detached is copied. From
    /// half of what is above `pool_pressure_pct` on: 90 % by default.
    Critical,
    /// Streams are received in small portions and datagrams not at all until buffers come home;
    /// what is queued is still sent. From nine tenths of what is above `pool_pressure_pct` on: 98 %
    /// by default.
    Drain,
}

/// The seven pools of the reference, as this backend has them. docs/TUNING.md has the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReferencePool {
    /// Free slots.
    FreeStack,
    /// Stream buffers that may be lent to the kernel.
    FillRing,
    /// The event queue.
    RxRing,
    /// Entries of the send queues.
    TxRing,
    /// Completions that were taken from the kernel's queue and wait for room in the event queue,
    /// over the entries of that queue.
    CompletionRing,
    /// Jumbo buffers, for partial messages.
    ScratchPool,
    /// The connection table.
    PerConn,
}

impl ReferencePool {
    /// All of them, in the order of [`PoolStats::pools`].
    pub const ALL: [Self; 7] = [
        Self::FreeStack,
        Self::FillRing,
        Self::RxRing,
        Self::TxRing,
        Self::CompletionRing,
        Self::ScratchPool,
        Self::PerConn,
    ];

    /// Whether the pool takes part in the cascade. The event queue and the completion queue are
    /// bounded by flow control (what does not fit stays in the kernel), and a full connection
    /// table is no shortage of memory: they are reported and do not raise the state.
    #[must_use]
    pub const fn raises_pressure(self) -> bool {
        matches!(self, Self::FreeStack | Self::FillRing | Self::TxRing | Self::ScratchPool)
    }
}

/// One pool's use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolUse {
    /// In use now.
    pub used: u32,
    /// The most that was ever in use. Of the event queue and the completion queue, which fill and
    /// empty within a tick, it is what waits now: noting more would cost each message.
    pub peak: u32,
    /// The bound; 0: not applicable to this configuration.
    pub capacity: u32,
}

pub(crate) type Gauge = PoolUse;

impl PoolUse {
    /// Use in percent, 0 for a pool that is not there.
    #[must_use]
    pub const fn percent(&self) -> u8 {
        if self.capacity == 0 {
            return 0;
        }
        (self.used as u64 * 100 / self.capacity as u64) as u8
    }
}

/// Current, peak and capacity of every pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// In the order of [`ReferencePool::ALL`].
    pub pools: [PoolUse; 7],
    /// 64 KiB buffers, for segmented datagrams.
    pub gro_buffers: PoolUse,
    /// Payloads held as `OwnedSlot`: buffers, of all classes.
    pub detached: u32,
    /// Slots that are with handles or set aside for them.
    pub handle_reserve: u32,
    /// Times that a connection's receive ended for want of buffers: `IoStats::starved`.
    pub starved_total: u64,
    /// Datagrams that were accepted for sending and dropped: `IoStats::datagrams_dropped`. Those
    /// that no buffer was free for are refused by name, or wait in the socket.
    pub datagrams_dropped_total: u64,
}

impl PoolStats {
    /// One pool's use.
    #[must_use]
    pub const fn of(&self, pool: ReferencePool) -> PoolUse {
        self.pools[pool as usize]
    }
}

/// The state, and what caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolPressureInfo {
    /// The state now.
    pub state: PressureState,
    /// The state before the last transition; in an event, the one that was told last.
    pub previous: PressureState,
    /// The fullest pool.
    pub pool: ReferencePool,
    /// Its use, in percent.
    pub used_pct: u8,
}

/// Percent below a threshold at which a state is left.
pub(crate) const HYSTERESIS_PCT: u8 = 5;

/// The state machine.
pub(crate) struct Cascade {
    thresholds: [u8; 3],
    info: PoolPressureInfo,
    /// The state that was told last.
    told: PressureState,
}

impl Cascade {
    pub(crate) const fn new(warning_pct: u8) -> Self {
        let room = 100 - warning_pct;
        let nine_tenths = (room as u16 * 9 / 10) as u8;
        Self {
            thresholds: [warning_pct, warning_pct + room / 2, warning_pct + nine_tenths],
            info: PoolPressureInfo {
                state: PressureState::Healthy,
                previous: PressureState::Healthy,
                pool: ReferencePool::FreeStack,
                used_pct: 0,
            },
            told: PressureState::Healthy,
        }
    }

    /// Whether the state is another one than was told last.
    pub(crate) fn has_news(&self) -> bool {
        self.info.state != self.told
    }

    /// What is to be told of the state, once: transitions that were taken back in the meantime are
    /// not.
    pub(crate) fn tell(&mut self) -> Option<PoolPressureInfo> {
        let previous = std::mem::replace(&mut self.told, self.info.state);
        (previous != self.told).then_some(PoolPressureInfo { previous, ..self.info })
    }

    pub(crate) const fn state(&self) -> PressureState {
        self.info.state
    }

    /// The largest use of a pool of this capacity that changes nothing while all is `Healthy`.
    pub(crate) fn calm_max(&self, capacity: u32) -> u32 {
        // `percent()` rounds down: below the threshold is below this many hundredths.
        let warning = u64::from(self.thresholds[0]) * u64::from(capacity);
        match capacity {
            0 => u32::MAX,
            _ => (warning.div_ceil(100) as u32).saturating_sub(1),
        }
    }

    /// The state, and how full the fullest pool is now.
    pub(crate) fn info_at(&self, pools: &[PoolUse; 7]) -> PoolPressureInfo {
        let (used_pct, pool) = worst_of(pools);
        PoolPressureInfo { used_pct, pool, ..self.info }
    }

    /// Takes the gauges in; the transition, if there was one.
    pub(crate) fn update(&mut self, pools: &[PoolUse; 7]) -> Option<PoolPressureInfo> {
        let worst = worst_of(pools);
        let state = self.next(worst.0);
        self.info.used_pct = worst.0;
        self.info.pool = worst.1;
        if state == self.info.state {
            return None;
        }
        self.info.previous = self.info.state;
        self.info.state = state;
        Some(self.info)
    }

    fn next(&self, pct: u8) -> PressureState {
        const STATES: [PressureState; 4] = [
            PressureState::Healthy,
            PressureState::Warning,
            PressureState::Critical,
            PressureState::Drain,
        ];
        let up = self.thresholds.iter().filter(|t| pct >= **t).count();
        let keep = self.thresholds.iter().filter(|t| pct + HYSTERESIS_PCT >= **t).count();
        let now = self.info.state as usize;
        STATES[if up > now { up } else { now.min(keep).max(up) }]
    }
}

/// The fullest of the pools that raise the state, and how full it is, in percent.
fn worst_of(pools: &[PoolUse; 7]) -> (u8, ReferencePool) {
    let mut worst = (0, ReferencePool::FreeStack);
    for pool in ReferencePool::ALL.into_iter().filter(|pool| pool.raises_pressure()) {
        let pct = pools[pool as usize].percent();
        if pct > worst.0 {
            worst = (pct, pool);
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;
    use PressureState::{Critical, Drain, Healthy, Warning};

    fn gauges(pct: u32) -> [PoolUse; 7] {
        let mut pools = [PoolUse::default(); 7];
        pools[0] = PoolUse { used: pct, peak: pct, capacity: 100 };
        pools
    }

    #[test]
    fn rises_at_once_and_falls_late() {
        let mut cascade = Cascade::new(80);
        let steps = [
            (50, Healthy),
            (80, Warning),
            (76, Warning),
            (74, Healthy),
            (95, Critical),
            (99, Drain),
            (94, Drain),
            (92, Critical),
            (84, Warning),
            (0, Healthy),
        ];
        for (pct, state) in steps {
            cascade.update(&gauges(pct));
            assert_eq!(cascade.state(), state, "at {pct} %");
        }
    }

    #[test]
    fn calm_is_what_stays_healthy() {
        for warning_pct in [1, 50, 80, 99] {
            let cascade = Cascade::new(warning_pct);
            for capacity in [1_u32, 2, 3, 7, 99, 100, 101, 4096, 1 << 24] {
                let calm = cascade.calm_max(capacity);
                let percent = |used| PoolUse { used, peak: used, capacity }.percent();
                assert!(calm == 0 || percent(calm) < warning_pct, "{calm} of {capacity}");
                assert!(percent(calm + 1) >= warning_pct, "{} of {capacity}", calm + 1);
            }
        }
    }

    #[test]
    fn tells_each_transition_once() {
        let mut cascade = Cascade::new(80);
        assert_eq!(cascade.update(&gauges(85)).map(|i| i.state), Some(Warning));
        assert_eq!(cascade.update(&gauges(86)), None);
    }
}
