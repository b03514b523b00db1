//! Nodes that crash and are started anew, at the same addresses: with what they knew before, or
//! without.
//!
//! Held: a node that is gone leaves nothing; clients that come back to its keys are told that they
//! are forgotten (a stateless reset, RFC 9000 §10.3) as soon as they say something.

use zero_io::{Io, StreamDir, code};

use super::Cx;
use super::model::End;
use super::node::{Node, State};
use super::past::Memory;

/// What a client says at least before it must have heard that it is forgotten.
const SAID_MIN: u64 = 1_000;

impl Node {
    /// Crashes the node, and starts it anew.
    pub(super) fn restart(&mut self, cx: &mut Cx) {
        self.count(cx);
        let State { conns, listeners, waiting, dials, .. } = std::mem::take(&mut self.state);
        conns.into_values().for_each(|end| cx.model.crash(end));
        // The old one goes as it comes: in the midst of its work.
        self.io = Io::in_world(self.config.clone(), &cx.world).expect("a node");
        assert_eq!(cx.world.open_fds(self.index), 0, "descriptors of a node that crashed");
        assert_eq!(cx.world.open_slots(self.index), 0, "slots of a node that crashed");
        self.index = cx.world.nodes() - 1;
        (cx.restart_count, cx.model.has_lives) = (cx.restart_count + 1, true);
        let memory = self.memory.as_ref().map(|memory| memory.next(cx));
        let keys = [&self.memory, &memory].map(|memory| memory.as_ref().map(Memory::key));
        if cx.is_liveness {
            bereave(cx, keys[0] == keys[1]);
        }
        self.memory = memory;
        self.state.dials = dials;
        self.state.waiting = waiting;
        for listener in listeners {
            let mut config = listener.config;
            config.addr = listener.addr;
            self.state.waiting.push(config);
        }
        self.reopen(cx);
    }

    /// Notes what its listeners did in this life.
    pub(super) fn count(&mut self, cx: &mut Cx) {
        let stats = self.io.io_stats();
        cx.spared_count += self.state.asked_count.saturating_sub(stats.quic_retried);
        cx.refused_count += stats.quic_refused;
    }

    pub(super) fn refused_count(&mut self) -> u64 {
        self.io.io_stats().quic_refused
    }

    /// Opens again what was open before; what cannot be now is tried in the next round.
    pub(super) fn reopen(&mut self, cx: &Cx) {
        for mut config in std::mem::take(&mut self.state.waiting) {
            if let Some(memory) = &self.memory {
                memory.apply(&mut config, &cx.past);
            }
            if self.open(config.clone()).is_none() {
                self.state.waiting.push(config);
            }
        }
    }
}

/// All is well, and the node crashed to which all new connections go: what was begun is cut
/// short, and those who are connected are to hear so where the keys are the same.
fn bereave(cx: &mut Cx, has_keys: bool) {
    let patient = cx.places.first().copied();
    for end in cx.model.ends.iter_mut().filter(|end| end.is_sure && end.ended.is_none()) {
        end.is_sure = false;
        if has_keys && end.is_confirmed && end.is_open() && end.route.to == patient {
            end.forgotten_at = Some(end.written());
            end.plan.push(StreamDir::Bidi);
        }
    }
}

/// A connection ended that the server had forgotten: not for want of an answer.
pub(super) fn check_forgotten(end: &End) {
    let Some(written) = end.forgotten_at else { return };
    let is_silence = end.ended.is_some_and(|ended| ended.code == code::IDLE_TIMEOUT);
    let has_spoken = end.written() >= written + SAID_MIN;
    assert!(!is_silence || !has_spoken, "it was not told that it is forgotten: {end:?}");
}
