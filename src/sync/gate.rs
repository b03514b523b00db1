//! The gate between a shard that sleeps and the handles that wake it.
//!
//! Role: decides, for each push into a shard, whether someone must write the shard's eventfd: only
//! when the shard sleeps, and then exactly one of the pushers.
//! Not its role: the eventfd itself, and the queues.
//!
//! Contract, for whatever other threads put where the shard looks (queue, return stack):
//!
//! ```text
//! pusher                                   shard
//!   push (publish)                           prepare_sleep()
//!   if needs_wake() { write eventfd }        if anything is queued { awake(); run }
//!                                            else { block; awake(); run }
//!
//! waker, who has pushed nothing            shard
//!   if calls() { write eventfd }             if prepare_sleep() { awake(); run }
//! ```
//!
//! Invariants:
//! - G1: no lost wake. Each side writes, fences, then reads what the other wrote, and in the one
//!   order of sequentially consistent fences either the pusher sees SLEEPING or the shard sees
//!   the push before it blocks.
//! - G2: at most one wake per `prepare_sleep`: SLEEPING is left by one exchange.
//! - G3: a wake may still be on its way after [`Gate::awake`] (it says so); then the eventfd
//!   becomes readable once for nothing.
//! - G4: a call that comes while the shard is awake is kept for its next sleep, which then is none.
//!   What wakes it up meanwhile takes the call with it: the shard has run since.

use super::Padded;
use super::atomic::{AtomicU32, Ordering, fence};

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;
/// Awake, and called: the next sleep is none.
const CALLED: u32 = 2;

/// Whether the shard sleeps; shared by the shard and all of its handles.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Padded<AtomicU32>,
}

impl Gate {
    /// A gate whose shard is awake.
    pub(crate) fn new() -> Self {
        Self { state: Padded(AtomicU32::new(AWAKE)) }
    }

    /// Shard: says that it is about to block. The shard must look at its queues after this call
    /// and before it blocks. True when it was called: it does not block (G4).
    pub(crate) fn prepare_sleep(&self) -> bool {
        // Acquire: what the caller did before is seen.
        let called = self.state.0.swap(SLEEPING, Ordering::Acquire) == CALLED;
        // G1: the store above, then the look at the queues.
        fence(Ordering::SeqCst);
        called
    }

    /// Shard: says that it runs, after it blocked or because it found something to do instead.
    /// True when a pusher has claimed the wake: the eventfd was or will be written.
    pub(crate) fn awake(&self) -> bool {
        self.state.0.swap(AWAKE, Ordering::Acquire) != SLEEPING
    }

    /// Shard, awake: whether it was called; once.
    pub(crate) fn was_called(&self) -> bool {
        self.state.0.load(Ordering::Relaxed) == CALLED
            && self.state.0.swap(AWAKE, Ordering::Acquire) == CALLED
    }

    /// Waker: ends the shard's sleep, or else its next one. True when the caller must wake the
    /// shard.
    pub(crate) fn calls(&self) -> bool {
        // Release: what the caller did before is seen by who finds the call.
        self.state.0.swap(CALLED, Ordering::Release) == SLEEPING
    }

    /// Pusher, after each push: true when the caller must wake the shard.
    pub(crate) fn needs_wake(&self) -> bool {
        // G1: the push, then the look at the state.
        fence(Ordering::SeqCst);
        // The load keeps the line shared between pushers while the shard is busy.
        self.state.0.load(Ordering::Relaxed) == SLEEPING
            && self
                .state
                .0
                .compare_exchange(SLEEPING, AWAKE, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::mpsc;
    use std::sync::atomic::AtomicU64;
    use std::thread;

    #[test]
    fn one_wake_per_sleep() {
        let gate = Gate::new();
        assert!(!gate.needs_wake());
        gate.prepare_sleep();
        assert!(gate.needs_wake());
        assert!(!gate.needs_wake());
        assert!(gate.awake(), "the wake was claimed");
        gate.prepare_sleep();
        assert!(!gate.awake(), "nobody came");
        assert!(!gate.needs_wake());
    }

    #[test]
    fn a_call_ends_one_sleep() {
        let gate = Gate::new();
        assert!(!gate.calls() && !gate.calls(), "it is awake");
        assert!(!gate.needs_wake());
        assert!(gate.prepare_sleep(), "the next sleep is none");
        assert!(!gate.awake());
        assert!(!gate.prepare_sleep(), "but the one after it is");
        assert!(gate.calls());
        assert!(!gate.calls() && !gate.needs_wake(), "one wake per sleep");
        assert!(gate.awake() && !gate.prepare_sleep(), "and one sleep per wake");
        gate.awake();
        assert!(!gate.calls() && gate.was_called() && !gate.was_called());
        assert!(!gate.prepare_sleep());
    }

    #[test]
    fn a_sleeping_consumer_gets_everything() {
        const PRODUCERS: u64 = 2;
        let each = if cfg!(miri) { 20 } else { 5_000 };
        let (producer, consumer) = mpsc::channel(8);
        let (gate, wakes) = (Gate::new(), AtomicU64::new(0));
        let shard = thread::current();
        let mut sleeps = 0;
        thread::scope(|scope| {
            for _ in 0..PRODUCERS {
                let producer = producer.clone();
                let (gate, wakes, shard) = (&gate, &wakes, shard.clone());
                scope.spawn(move || {
                    for number in 0..each {
                        while producer.push(number).is_err() {
                            thread::yield_now();
                        }
                        if gate.needs_wake() {
                            wakes.fetch_add(1, Ordering::Relaxed);
                            shard.unpark();
                        }
                    }
                });
            }
            let mut received = 0;
            while received < PRODUCERS * each {
                received += std::iter::from_fn(|| consumer.pop()).count() as u64;
                if received == PRODUCERS * each {
                    break;
                }
                gate.prepare_sleep();
                sleeps += 1;
                if consumer.is_empty() {
                    // Hangs here if a wake is lost: nothing else unparks this thread.
                    thread::park();
                }
                gate.awake();
            }
        });
        assert!(wakes.load(Ordering::Relaxed) <= sleeps);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;
    use crate::sync::model::{Steps, bounded};
    use crate::sync::mpsc::{self, Producer};
    use crate::sync::returns::ReturnStack;
    use loom::sync::Notify;
    use loom::thread;

    /// Two pushers and a shard that may sleep twice: some ten times more orders with each
    /// preemption, and hours without a bound.
    const TWO_PUSHERS_PREEMPTIONS: usize = 4;

    /// Everything that the threads of a model share; `eventfd` blocks until it was written.
    struct Shard {
        gate: Gate,
        eventfd: Notify,
        wakes: AtomicU32,
        returns: ReturnStack,
        steps: Steps,
    }

    impl Shard {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                gate: Gate::new(),
                eventfd: Notify::new(),
                wakes: AtomicU32::new(0),
                returns: ReturnStack::with_capacity(2),
                steps: Steps::new(),
            })
        }

        fn wake(&self) {
            if self.gate.needs_wake() {
                self.wakes.fetch_add(1, Ordering::Relaxed);
                self.eventfd.notify();
            }
        }

        /// Runs until `wanted` things came out of `take`. A lost wake is a deadlock here, which
        /// the model checker reports.
        fn run(&self, wanted: usize, mut take: impl FnMut() -> usize, idle: impl Fn() -> bool) {
            let (mut taken, mut sleeps) = (0, 0);
            loop {
                self.steps.pass();
                taken += take();
                if taken == wanted {
                    break;
                }
                let called = self.gate.prepare_sleep();
                sleeps += 1;
                if !called && idle() {
                    self.eventfd.wait();
                }
                self.gate.awake();
            }
            assert!(self.wakes.load(Ordering::Relaxed) <= sleeps, "more wakes than sleeps");
        }
    }

    fn push(shard: &Shard, producer: &Producer<u32>, value: u32) {
        shard.steps.pass();
        assert!(producer.push(value).is_ok());
        shard.wake();
    }

    fn give_back(shard: &Shard, index: u32) {
        shard.steps.pass();
        shard.returns.push(index);
        shard.wake();
    }

    /// Something that the shard does not look at before it sleeps, and a call.
    fn call(shard: &Shard, flag: &AtomicU32) {
        shard.steps.pass();
        flag.fetch_add(1, Ordering::Relaxed);
        if shard.gate.calls() {
            shard.wakes.fetch_add(1, Ordering::Relaxed);
            shard.eventfd.notify();
        }
    }

    #[test]
    fn loom_gate_one_call_ends_a_sleep() {
        loom::model(|| {
            let shard = Shard::new();
            let flag = Arc::new(AtomicU32::new(0));
            let caller = {
                let (shard, flag) = (Arc::clone(&shard), Arc::clone(&flag));
                thread::spawn(move || call(&shard, &flag))
            };
            shard.run(1, || flag.swap(0, Ordering::Relaxed) as usize, || true);
            caller.join().unwrap();
        });
    }

    #[test]
    fn loom_gate_a_call_and_a_push_lose_no_wake() {
        bounded(TWO_PUSHERS_PREEMPTIONS, || {
            let shard = Shard::new();
            let flag = Arc::new(AtomicU32::new(0));
            let (producer, consumer) = mpsc::channel(2);
            let caller = {
                let (shard, flag) = (Arc::clone(&shard), Arc::clone(&flag));
                thread::spawn(move || call(&shard, &flag))
            };
            let pusher = {
                let shard = Arc::clone(&shard);
                thread::spawn(move || push(&shard, &producer, 1))
            };
            let take =
                || flag.swap(0, Ordering::Relaxed) as usize + consumer.pop().into_iter().count();
            shard.run(2, take, || consumer.is_empty());
            caller.join().unwrap();
            pusher.join().unwrap();
        });
    }

    #[test]
    fn loom_gate_one_push_loses_no_wake() {
        loom::model(|| {
            let shard = Shard::new();
            let (producer, consumer) = mpsc::channel(2);
            let pusher = {
                let shard = Arc::clone(&shard);
                thread::spawn(move || push(&shard, &producer, 1))
            };
            shard.run(1, || consumer.pop().into_iter().count(), || consumer.is_empty());
            pusher.join().unwrap();
        });
    }

    #[test]
    fn loom_gate_one_return_loses_no_wake() {
        loom::model(|| {
            let shard = Shard::new();
            let giver = {
                let shard = Arc::clone(&shard);
                thread::spawn(move || give_back(&shard, 0))
            };
            shard.run(1, || shard.returns.take_all().count(), || shard.returns.is_empty());
            giver.join().unwrap();
        });
    }

    #[test]
    fn loom_gate_and_queue_lose_no_wake() {
        bounded(TWO_PUSHERS_PREEMPTIONS, || {
            let shard = Shard::new();
            let (producer, consumer) = mpsc::channel(4);
            let threads = [1, 2].map(|value| {
                let (shard, producer) = (Arc::clone(&shard), producer.clone());
                thread::spawn(move || push(&shard, &producer, value))
            });
            shard.run(2, || consumer.pop().into_iter().count(), || consumer.is_empty());
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    #[test]
    fn loom_gate_wakes_once_per_sleep() {
        loom::model(|| {
            let shard = Shard::new();
            let (producer, consumer) = mpsc::channel(4);
            let pusher = {
                let (shard, producer) = (Arc::clone(&shard), producer.clone());
                thread::spawn(move || {
                    push(&shard, &producer, 1);
                    push(&shard, &producer, 2);
                })
            };
            shard.run(2, || consumer.pop().into_iter().count(), || consumer.is_empty());
            pusher.join().unwrap();
        });
    }

    /// What a shard of a cluster does: commands of handles and mail of shards, and one sleep.
    #[test]
    fn loom_gate_and_two_queues_lose_no_wake() {
        bounded(TWO_PUSHERS_PREEMPTIONS, || {
            let shard = Shard::new();
            let queues = [mpsc::channel(2), mpsc::channel(2)];
            let threads = queues.each_ref().map(|(producer, _)| {
                let (shard, producer) = (Arc::clone(&shard), producer.clone());
                thread::spawn(move || push(&shard, &producer, 1))
            });
            let [(_, commands), (_, mail)] = &queues;
            let take = || commands.pop().into_iter().chain(mail.pop()).count();
            shard.run(2, take, || commands.is_empty() && mail.is_empty());
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    #[test]
    fn loom_gate_and_returns_lose_no_wake() {
        bounded(TWO_PUSHERS_PREEMPTIONS, || {
            let shard = Shard::new();
            let threads = [0, 1].map(|index| {
                let shard = Arc::clone(&shard);
                thread::spawn(move || give_back(&shard, index))
            });
            shard.run(2, || shard.returns.take_all().count(), || shard.returns.is_empty());
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }
}
