//! How completions reach the engine.
//!
//! Role: post, hold back, reorder, overflow, hand out; one `enter`. Not role: what an operation
//! does (`submit`).
//!
//! *Invariants*: K1 the completions of one operation keep their order; K13 none is lost; K15 they
//! appear in `enter` alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;

use super::fault::Fault;
use super::kernel::{Event, Kernel};
use super::mem;
use super::node::{Buffer, Claim, Memory, OpRef, Posted, Work};
use super::trace::What;
use crate::ring::op::{Completion, Token, Wait};

impl Kernel {
    // ---- posting

    pub(super) fn post(&mut self, me: OpRef, result: i32, flags: u32) {
        self.post_buffer(me, result, flags, 0);
    }

    /// Posts one completion; without `MORE` it is the operation's last.
    pub(super) fn post_buffer(&mut self, me: OpRef, result: i32, flags: u32, group: u16) {
        let held_back = self.hit(Fault::CompletionDelay);
        let delay_ns = if held_back { self.delay_ns() } else { 0 };
        let (now_ns, order) = (self.now_ns, self.serial());
        let Some(pending) = self.nodes[me.node].pending.get_mut(&me.serial) else { return };
        let due_ns = (now_ns + delay_ns).max(pending.not_before_ns);
        pending.not_before_ns = due_ns;
        let last = flags & Completion::MORE == 0;
        let token = pending.token;
        let mut claims = [None; 2];
        let mut released = None;
        let mut memory = None;
        match &mut pending.what {
            // K6: with its first completion a send is over, notification or not.
            Work::Send(sending) => {
                released = pending.file.take();
                claims[1] = released.map(Claim::Send);
                // K8: of a short zero-copy send, what was taken stays with the kernel alone.
                if !last && result >= 0 {
                    let taken = Memory::new(mem::front(&sending.memory.pieces, result as usize));
                    memory = Some(std::mem::replace(&mut sending.memory, taken));
                }
            }
            Work::Recv { .. } if last => {
                released = pending.file.take();
                claims[1] = released.map(Claim::Recv);
            }
            _ if last => released = pending.file.take(),
            _ => {}
        }
        if last {
            claims[0] = (token != Token::IGNORE).then_some(Claim::Token(token.0));
            let node = &mut self.nodes[me.node];
            if node.wake_serial == Some(me.serial) {
                node.wake_serial = None;
            }
            if let Some(Work::Send(sending)) = node.pending.remove(&me.serial).map(|p| p.what) {
                memory = Some(sending.memory);
            }
        }
        let completion = Completion { token, result, flags };
        let posted = Posted { due_ns, order, serial: me.serial, completion, memory, claims, group };
        self.nodes[me.node].posted.push(posted);
        if delay_ns > 0 {
            self.schedule(due_ns - now_ns, Event::Nudge);
        }
        if let Some(file) = released {
            if let Some(file) = self.files.get_mut(file) {
                file.waiters.retain(|op| *op != me);
            }
            self.release(file);
        }
    }

    /// Whether the completion queue has no room: then a multishot ends (K13), which is counted.
    pub(super) fn is_crowded(&mut self, node: usize) -> bool {
        let node = &mut self.nodes[node];
        let is_crowded = node.unreaped_count() + 1 >= self.faults.shape.cq_entries as usize;
        node.overflow_count += u64::from(is_crowded);
        is_crowded
    }

    // ---- one enter

    /// Submits, runs, flushes. It never blocks: time belongs to the world (K14, K20).
    pub(super) fn enter(&mut self, node: usize, wait: Wait) {
        self.run_due();
        match wait {
            Wait::None => {}
            Wait::For(ns) => {
                self.nodes[node].wants_wake_at_ns = Some(self.now_ns.saturating_add(ns));
            }
            Wait::Forever => self.nodes[node].wants_wake_at_ns = None,
        }
        // K14: a signal or a busy kernel; nothing happened, and that is no error.
        if self.hit(Fault::EnterNothing) {
            return;
        }
        let mut count = self.nodes[node].sq.len();
        if self.hit(Fault::SubmitPartial) {
            count = self.between(0, count as u64) as usize;
        }
        self.submit(node, count);
        self.run_queue(node);
        self.look_at_wake(node);
        self.flush(node);
    }

    fn look_at_wake(&mut self, node: usize) {
        let Some(serial) = self.nodes[node].wake_serial else { return };
        if self.nodes[node].wake_flag.swap(false, Ordering::AcqRel) {
            let more = !self.is_crowded(node) && !self.hit(Fault::PollEnds);
            let flags = if more { Completion::MORE } else { 0 };
            self.post(OpRef { node, serial }, libc::POLLIN.into(), flags);
        }
    }

    /// Moves what is due into the completion queue.
    fn flush(&mut self, node: usize) {
        let now_ns = self.now_ns;
        let posted = std::mem::take(&mut self.nodes[node].posted);
        let (mut due, later): (Vec<_>, Vec<_>) =
            posted.into_iter().partition(|posted| posted.due_ns <= now_ns);
        self.nodes[node].posted = later;
        if due.len() > 1 && self.hit(Fault::CompletionReorder) {
            self.rng.shuffle(&mut due);
            due = in_order_per_operation(due);
        }
        let room = self.faults.shape.cq_entries as usize;
        let node = &mut self.nodes[node];
        node.overflow.extend(due);
        while node.cq.len() < room
            && let Some(posted) = node.overflow.pop_front()
        {
            node.cq.push_back(posted);
        }
    }

    /// Whether an `enter` would do anything.
    pub(super) fn has_work(&self, node: usize) -> bool {
        let now_ns = self.now_ns;
        let node = &self.nodes[node];
        node.alive
            && (!node.sq.is_empty()
                || !node.run.is_empty()
                || !node.overflow.is_empty()
                || node.posted.iter().any(|posted| posted.due_ns <= now_ns)
                || (node.wake_serial.is_some() && node.wake_flag.load(Ordering::Acquire)))
    }

    /// Whether a poll of this node would do anything.
    pub(super) fn is_busy(&self, node: usize) -> bool {
        self.has_work(node) || (self.nodes[node].alive && !self.nodes[node].cq.is_empty())
    }

    /// Hands completions out: from here on the engine knows of them.
    pub(super) fn reap(&mut self, node: usize, into: &mut [Completion]) -> usize {
        let mut count = 0;
        for place in into {
            let Some(posted) = self.nodes[node].cq.pop_front() else { break };
            *place = posted.completion;
            count += 1;
            self.trace(node, What::Complete(posted.completion));
            self.learned(node, posted);
        }
        count
    }

    fn learned(&mut self, node: usize, posted: Posted) {
        let token = posted.completion.token;
        for claim in posted.claims.into_iter().flatten() {
            self.nodes[node].unclaim(claim);
        }
        if let Some(bid) = posted.completion.buffer()
            && let Some(group) = self.nodes[node].groups.get_mut(&posted.group)
            && let Some(address) = group.held.remove(&bid)
        {
            self.nodes[node].provided.remove(&address);
        }
        // K5: until this very moment the memory was the kernel's.
        if posted.memory.is_some_and(|memory| memory.has_changed()) {
            self.violation(node, format!("K5: memory of {token:?} changed before it completed"));
        }
    }

    // ---- provided buffers

    pub(super) fn group_register(
        &mut self,
        node: usize,
        group: u16,
        entries: u16,
    ) -> Result<(), i32> {
        if let Some(errno) = self.forced_failure("register_buf_ring") {
            return Err(errno);
        }
        if !entries.is_power_of_two() || self.nodes[node].groups.contains_key(&group) {
            return Err(if entries.is_power_of_two() { libc::EEXIST } else { libc::EINVAL });
        }
        let state = self.nodes[node].groups.entry(group).or_default();
        state.entries = entries.into();
        Ok(())
    }

    pub(super) fn group_provide(&mut self, node: usize, group: u16, buffer: Buffer) {
        let address = buffer.ptr.addr();
        let end = address + buffer.len as usize;
        let before = self.nodes[node].provided.range(..end).next_back();
        let overlaps = before.is_some_and(|(start, len)| start + *len as usize > address);
        let Some(state) = self.nodes[node].groups.get_mut(&group) else {
            let text = format!("K4: buffer for group {group}, which is unknown");
            return self.violation(node, text);
        };
        let twice = state.held.insert(buffer.bid, address).is_some();
        let full = state.held.len() > state.entries;
        if !twice {
            let used = state.written_len.remove(&buffer.bid).unwrap_or(0);
            mem::poison(buffer.ptr, used.min(buffer.len) as usize);
        }
        state.staged.push(buffer);
        self.nodes[node].provided.insert(address, buffer.len);
        if twice || overlaps {
            let text =
                format!("K4: buffer {} of group {group} is the kernel's already", buffer.bid);
            self.violation(node, text);
        } else if full {
            self.violation(node, format!("K4: group {group} has more buffers than entries"));
        }
    }

    pub(super) fn group_publish(&mut self, node: usize, group: u16) {
        let Some(state) = self.nodes[node].groups.get_mut(&group) else {
            let text = format!("K4: group {group} is unknown");
            return self.violation(node, text);
        };
        state.visible.extend(state.staged.drain(..));
    }

    // ---- the end of a ring

    /// Ends everything that is under way. False: the kernel still refers to memory of zero-copy
    /// sends.
    pub(super) fn shutdown_ring(&mut self, node: usize) -> bool {
        let state = &self.nodes[node];
        let notifying =
            state.pending.values().any(|op| matches!(&op.what, Work::Send(s) if s.notifying));
        let unsent = state.pending.values().filter_map(|op| match &op.what {
            Work::Send(sending) => Some(sending.memory.clone()),
            _ => None,
        });
        let posted = state.posted.iter().chain(&state.cq).chain(&state.overflow);
        let memory: Vec<_> = posted.filter_map(|p| p.memory.clone()).chain(unsent).collect();
        if memory.iter().any(Memory::has_changed) {
            self.violation(node, "K5: memory changed before the ring was shut down".into());
        }
        // K24: what is queued still is taken before all of it is cancelled.
        self.submit(node, usize::MAX);
        self.close_ring(node);
        !notifying
    }

    /// Closes the ring: what is under way is cancelled, the fixed file table is emptied.
    pub(super) fn close_ring(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        state.alive = false;
        state.sq.clear();
        state.run.clear();
        state.posted.clear();
        state.cq.clear();
        state.overflow.clear();
        state.claims.clear();
        state.groups.clear();
        state.provided.clear();
        state.wants_wake_at_ns = None;
        state.wake_serial = None;
        let pending = std::mem::take(&mut state.pending);
        let slots = std::mem::take(&mut state.slots);
        for (serial, operation) in pending {
            let Some(file) = operation.file else { continue };
            if let Some(file) = self.files.get_mut(file) {
                file.waiters.retain(|op| *op != OpRef { node, serial });
            }
            self.release(file);
        }
        slots.into_values().for_each(|file| self.release(file));
    }
}

/// The same completions in the same places, except that those of one operation keep their order.
fn in_order_per_operation(shuffled: Vec<Posted>) -> Vec<Posted> {
    let places: Vec<u64> = shuffled.iter().map(|posted| posted.serial).collect();
    let mut sorted = shuffled;
    sorted.sort_by_key(|posted| posted.order);
    let mut by_operation: BTreeMap<u64, VecDeque<Posted>> = BTreeMap::new();
    for posted in sorted {
        by_operation.entry(posted.serial).or_default().push_back(posted);
    }
    let next = |serial: &u64| by_operation.get_mut(serial).and_then(VecDeque::pop_front);
    places.iter().filter_map(next).collect()
}
