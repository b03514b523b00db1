//! Datagrams, timers and watched descriptors of one node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{
    EndpointId, Event, IoError, Readiness, Sender, TimerId, UdpEndpointConfig, UdpTransmit, WatchId,
};

use crate::node::Shared;
use crate::pattern::bytes;

/// Bytes in front of a datagram: its number.
const NUMBER_LEN: usize = 8;
/// The longest datagram of an endpoint that cuts.
const SHORT_MAX: usize = 300;

/// All datagrams that were ever sent, and where to.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    pub(crate) lens: Vec<usize>,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) received_count: u64,
}

impl Datagrams {
    /// A new one.
    fn make(&mut self, len: usize) -> Vec<u8> {
        let number = self.lens.len() as u64;
        let len = len.max(NUMBER_LEN);
        self.lens.push(len);
        let mut out = number.to_le_bytes().to_vec();
        out.extend(bytes(number, 1, 0, (len - NUMBER_LEN) as u64));
        out
    }

    /// Whole, or cut and marked, and never another's bytes.
    fn check(&mut self, data: &[u8], truncated: bool) {
        self.received_count += 1;
        let Some(number) = data.first_chunk::<NUMBER_LEN>() else {
            assert!(data.is_empty(), "a datagram without its number");
            return;
        };
        let number = u64::from_le_bytes(*number);
        let len = *self.lens.get(number as usize).expect("a datagram that was sent");
        assert_eq!(truncated, data.len() < len, "datagram {number}: {} of {len}", data.len());
        let payload = bytes(number, 1, 0, (data.len() - NUMBER_LEN) as u64);
        assert!(data[NUMBER_LEN..] == payload, "datagram {number} has foreign bytes");
    }
}

struct Timer {
    id: TimerId,
    due_ns: u64,
}

struct Watch {
    id: WatchId,
    node: usize,
    fd: i32,
    seen: bool,
}

#[derive(Default)]
pub(crate) struct Extras {
    sockets: Vec<EndpointId>,
    timers: BTreeMap<u64, Timer>,
    watches: BTreeMap<u64, Watch>,
}

impl Extras {
    pub(crate) fn open(&mut self, sender: &mut Sender<'_>, cx: &mut Shared) {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let nobody: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        for kind in 0..4 {
            let config = UdpEndpointConfig::new(any).with(|c| match kind {
                0 => c.datagram_max = Some(SHORT_MAX),
                1 => c.gro = true,
                2 => c.connect = Some(nobody),
                _ => c.send_queue = 4,
            });
            // There may be no buffers of 64 KiB, or no descriptor.
            let Ok(id) = sender.udp_bind_with(config) else { continue };
            self.sockets.push(id);
            if kind != 2
                && let Ok(addr) = sender.local_addr(id)
            {
                cx.datagrams.addrs.extend(addr.inet());
            }
        }
    }

    pub(crate) fn close(&mut self, sender: &mut Sender<'_>) {
        for id in self.sockets.drain(..) {
            sender.endpoint_close(id).expect("the socket is open");
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("timers {} watches {}", self.timers.len(), self.watches.len())
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.timers.is_empty() && self.watches.is_empty()
    }

    pub(crate) fn on_event(&mut self, event: &Event<'_>, sender: &mut Sender<'_>, cx: &mut Shared) {
        match *event {
            Event::UdpRecv { endpoint, from, data, truncated, .. } => {
                assert!(self.sockets.contains(&endpoint), "a datagram of a closed socket");
                cx.datagrams.check(data, truncated);
                if !truncated && !cx.is_liveness && cx.chance.once_in(3) {
                    self.forward(endpoint, from, data, sender, cx);
                }
            }
            Event::Timer { timer, token } => {
                let armed = self.timers.remove(&token).expect("a timer that is armed, once");
                assert_eq!(armed.id, timer);
                assert!(cx.world.now_ns() >= armed.due_ns, "a timer came early");
            }
            Event::FdReady { watch, token, .. } => {
                let watched = self.watches.get_mut(&token).expect("a watch that is there");
                assert_eq!(watched.id, watch);
                watched.seen = true;
            }
            Event::PoolPressure { .. } => {}
            ref other => panic!("an event nobody expects: {other:?}"),
        }
    }

    pub(crate) fn act(&mut self, node: usize, sender: &mut Sender<'_>, cx: &mut Shared) {
        if cx.is_liveness {
            return self.finish(sender, cx);
        }
        if cx.chance.once_in(8) {
            self.set_timer(sender, cx);
        }
        if cx.chance.once_in(20)
            && let Some((&token, timer)) = self.timers.iter().next()
        {
            // Armed: its event will not come. Not armed: it is on its way.
            if sender.timer_cancel(timer.id) {
                self.timers.remove(&token);
            }
        }
        if cx.chance.once_in(3) {
            self.send_datagram(sender, cx);
        }
        if cx.chance.once_in(40) {
            self.toggle_watch(node, sender, cx);
        }
        for watch in self.watches.values() {
            if cx.chance.once_in(10) {
                let ready = cx.chance.pick(&[0, 1, 4, 5]);
                cx.world.set_readiness(watch.node, watch.fd, ready);
            }
        }
    }

    fn set_timer(&mut self, sender: &mut Sender<'_>, cx: &mut Shared) {
        let after_us = cx.chance.pick(&[0, 1, 300, 20_000, 2_000_000]);
        let after = Duration::from_micros(after_us);
        let (token, now_ns) = (cx.token(), cx.world.now_ns());
        match sender.timer_set(after, token) {
            Ok(id) => {
                let due_ns = now_ns + after_us * 1_000;
                self.timers.insert(token, Timer { id, due_ns });
            }
            Err(IoError::PoolExhausted { .. }) => {}
            Err(error) => panic!("timer_set: {error}"),
        }
    }

    fn send_datagram(&mut self, sender: &mut Sender<'_>, cx: &mut Shared) {
        if self.sockets.is_empty() || cx.datagrams.addrs.is_empty() {
            return;
        }
        let from = self.sockets[cx.chance.below(self.sockets.len())];
        let to = cx.datagrams.addrs[cx.chance.below(cx.datagrams.addrs.len())];
        let result = match cx.chance.below(6) {
            0 => sender.udp_send_bytes(from, to, &[]),
            1 => sender.udp_send_connected(from, b"anyone?"),
            2 => self.send_train(from, to, sender, cx),
            _ => {
                let len = cx.chance.below(900);
                let datagram = cx.datagrams.make(len);
                sender.udp_send_bytes(from, to, &datagram)
            }
        };
        match result {
            Ok(()) | Err(IoError::QueueFull { .. } | IoError::PoolExhausted { .. }) => {}
            // A connected socket sends to its peer alone, and the other way round.
            Err(IoError::InvalidArgument { .. }) => {}
            Err(error) => panic!("udp_send: {error}"),
        }
    }

    /// Sends a datagram on: mostly back, and by the socket that it came to.
    fn forward(
        &mut self,
        mut by: EndpointId,
        mut to: SocketAddr,
        data: &[u8],
        sender: &mut Sender<'_>,
        cx: &mut Shared,
    ) {
        if cx.chance.once_in(4) {
            by = self.sockets[cx.chance.below(self.sockets.len())];
        }
        if cx.chance.once_in(4) {
            to = cx.datagrams.addrs[cx.chance.below(cx.datagrams.addrs.len())];
        }
        match sender.udp_forward(by, to, data) {
            Ok(()) | Err(IoError::QueueFull { .. } | IoError::PoolExhausted { .. }) => {}
            Err(error) => panic!("udp_forward: {error}"),
        }
    }

    fn send_train(
        &mut self,
        from: EndpointId,
        to: SocketAddr,
        sender: &mut Sender<'_>,
        cx: &mut Shared,
    ) -> zero_io::Result<()> {
        let len = NUMBER_LEN + cx.chance.below(200);
        let count = 1 + cx.chance.below(5);
        let train: Vec<u8> = (0..count).flat_map(|_| cx.datagrams.make(len)).collect();
        let mut buffer = sender.send_buffer(train.len())?;
        buffer.as_mut_slice()[..train.len()].copy_from_slice(&train);
        buffer.set_len(train.len());
        sender.udp_send_with(from, buffer, UdpTransmit::to(to).with_segment(len as u16))
    }

    fn toggle_watch(&mut self, node: usize, sender: &mut Sender<'_>, cx: &mut Shared) {
        if let Some((token, watch)) = self.watches.pop_first() {
            assert!(sender.unwatch_fd(watch.id), "watch {token} was live");
            cx.world.close_fd(watch.node, watch.fd);
            return;
        }
        let fd = cx.world.pollable(node);
        let token = cx.token();
        match sender.watch_fd(fd, Readiness::READABLE, token) {
            Ok(id) => {
                self.watches.insert(token, Watch { id, node, fd, seen: false });
            }
            Err(_) => cx.world.close_fd(node, fd),
        }
    }

    /// A change must be seen; then the watch may end.
    fn finish(&mut self, sender: &mut Sender<'_>, cx: &mut Shared) {
        let seen: Vec<u64> =
            self.watches.iter().filter(|(_, w)| w.seen).map(|(token, _)| *token).collect();
        for token in seen {
            let Some(watch) = self.watches.remove(&token) else { continue };
            assert!(sender.unwatch_fd(watch.id));
            cx.world.close_fd(watch.node, watch.fd);
        }
        for watch in self.watches.values() {
            cx.world.set_readiness(watch.node, watch.fd, 1);
        }
    }
}
