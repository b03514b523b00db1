//! What a node has beside connections: timers, datagrams, watched descriptors.

use super::pattern;
use crate::input::Input;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use zero_io::sim::World;
use zero_io::{EndpointId, Event, Io, Readiness, Sender, TimerId, UdpTransmit, WatchId};

/// Bytes of one datagram, or of a train, at most.
const DATAGRAM_LEN_MAX: u64 = 9_000;

#[derive(Default)]
pub(super) struct Extras {
    pub(super) sockets: Vec<EndpointId>,
    /// Armed, by token.
    timers: BTreeMap<u64, TimerId>,
    /// Watched, by token, with the descriptor.
    watches: BTreeMap<u64, (WatchId, i32)>,
    tokens: u64,
}

impl Extras {
    pub(super) fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    pub(super) fn timer(&mut self, io: &mut Io, input: &mut Input<'_>) {
        if input.byte() < 128 {
            let token = self.token();
            let armed = io.timer_set(Duration::from_nanos(input.number()), token);
            self.timers.extend(armed.ok().map(|timer| (token, timer)));
        } else if let Some((token, timer)) = self.timers.pop_first()
            && !io.timer_cancel(timer)
        {
            // It has fired, and its event is on its way.
            self.timers.insert(token, timer);
        }
    }

    pub(super) fn datagram(&mut self, io: &mut Io, to: SocketAddr, input: &mut Input<'_>) {
        let Some(&socket) = self.sockets.get(usize::from(input.byte()) % self.sockets.len().max(1))
        else {
            return;
        };
        let len = input.number() % DATAGRAM_LEN_MAX;
        let data: Vec<u8> = (0..len).map(pattern).collect();
        let _ = match input.byte() % 4 {
            0 => io.udp_send_connected(socket, &data),
            1 => send_train(io, socket, to, &data, 1 + (input.number() % 1_500) as usize),
            _ => io.udp_send_bytes(socket, to, &data),
        };
    }

    /// Watches a descriptor, lets one be ready, or ends a watch.
    pub(super) fn watch(&mut self, io: &mut Io, node: usize, world: &World, input: &mut Input<'_>) {
        match (input.byte() % 4, self.watches.last_key_value().map(|(token, _)| *token)) {
            (0, Some(token)) => self.unwatch(token, io, node, world),
            (1, Some(token)) => {
                let readiness = u32::from(input.byte());
                world.set_readiness(node, self.watches[&token].1, readiness);
            }
            _ => {
                let (token, fd) = (self.token(), world.pollable(node));
                match io.watch_fd(fd, Readiness::READABLE, token) {
                    Ok(watch) => drop(self.watches.insert(token, (watch, fd))),
                    Err(_) => world.close_fd(node, fd),
                }
            }
        }
    }

    fn unwatch(&mut self, token: u64, io: &mut Io, node: usize, world: &World) {
        let (watch, fd) = self.watches.remove(&token).expect("a watch");
        assert!(io.unwatch_fd(watch), "watch {token} was there");
        assert!(!io.unwatch_fd(watch), "watch {token} ended twice");
        world.close_fd(node, fd);
    }

    pub(super) fn on_event(&mut self, event: &Event<'_>, sender: &mut Sender<'_>) {
        match *event {
            Event::Timer { timer, token } => {
                assert_eq!(self.timers.remove(&token), Some(timer), "a timer that is armed, once");
            }
            Event::FdReady { watch, token, .. } => {
                assert_eq!(self.watches.get(&token).map(|(id, _)| *id), Some(watch), "a watch");
            }
            Event::UdpRecv { endpoint, from, data, .. } => {
                assert!(self.sockets.contains(&endpoint), "a datagram of a closed socket");
                let expected: Vec<u8> = (0..data.len() as u64).map(pattern).collect();
                assert_eq!(data, expected, "a datagram");
                // One in some is sent back as it came.
                if data.len() % 7 == 6 {
                    let _ = sender.udp_forward(endpoint, from, data);
                }
            }
            _ => {}
        }
    }

    pub(super) fn close_socket(&mut self, io: &mut Io) {
        if let Some(socket) = self.sockets.pop() {
            io.endpoint_close(socket).expect("a socket that is open");
        }
    }

    pub(super) fn end(&mut self, io: &mut Io, node: usize, world: &World) {
        while !self.sockets.is_empty() {
            self.close_socket(io);
        }
        self.timers.retain(|_, timer| !io.timer_cancel(*timer));
        while let Some((&token, _)) = self.watches.first_key_value() {
            self.unwatch(token, io, node, world);
        }
    }

    pub(super) fn check_ended(&self) {
        assert!(self.timers.is_empty(), "without an event: {:?}", self.timers);
    }
}

/// Datagrams of `segment` bytes, and a shorter one behind them: each begins as every datagram does.
fn send_train(
    io: &mut Io,
    socket: EndpointId,
    to: SocketAddr,
    data: &[u8],
    segment: usize,
) -> zero_io::Result<()> {
    let mut buffer = io.send_buffer(data.len())?;
    for piece in buffer.as_mut_slice()[..data.len()].chunks_mut(segment) {
        piece.copy_from_slice(&data[..piece.len()]);
    }
    buffer.set_len(data.len());
    io.udp_send_with(socket, buffer, UdpTransmit::to(to).with_segment(segment as u16))
}
