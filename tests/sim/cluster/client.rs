//! Who connects to a cluster, and looks whether what comes back is what was sent.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zero_io::sim::World;
use zero_io::{ConnId, Event, HostOrAddr, Io, StreamId, TcpConnectConfig};

use super::Cx;
use super::model::Flow;
use super::quic;
use super::udp::{self, Asker};
use crate::pattern::bytes;

/// Connections of a client at a time.
const FLOWS_MAX: usize = 8;
/// What may be on its way.
const WINDOW: u64 = 20_000;
const PIECE_MAX: u64 = 5_000;

/// A node that is a client.
pub(super) struct Client {
    pub(super) io: Io,
    pub(super) node: usize,
    conns: BTreeMap<ConnId, usize>,
    /// Where those speak that are connected.
    streams: BTreeMap<ConnId, StreamId>,
    asker: Asker,
}

impl Client {
    pub(super) fn new(io: Io, node: usize) -> Self {
        let (conns, streams) = (BTreeMap::new(), BTreeMap::new());
        Self { io, node, conns, streams, asker: Asker::new() }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.conns.is_empty()
    }

    pub(super) fn describe(&self, cx: &Cx) -> String {
        let flows = self.conns.values().map(|flow| (*flow, &cx.model.flows[*flow]));
        format!("\nclient {}: {:?}", self.node, flows.collect::<Vec<_>>())
    }

    /// Begins connections, and writes.
    pub(super) fn act(&mut self, cx: &mut Cx, addr: SocketAddr) {
        self.asker.act(&mut self.io, cx);
        if cx.may_start && self.conns.len() < FLOWS_MAX && cx.chance.once_in(6) {
            self.connect(cx, addr);
        }
        for (conn, flow) in &self.conns {
            if let Some(stream) = self.streams.get(conn)
                && (cx.is_over || cx.is_liveness || cx.chance.once_in(3))
            {
                write(&mut self.io, *conn, *stream, *flow, cx);
            }
        }
    }

    fn connect(&mut self, cx: &mut Cx, addr: SocketAddr) {
        let is_quic = cx.quic.is_some() && cx.chance.once_in(2);
        let conn = match &cx.quic {
            Some(quic) if is_quic => quic.connect(&mut self.io, &mut cx.chance),
            _ => {
                let config = TcpConnectConfig::new(HostOrAddr::Addr(addr));
                let patient = config.with(|c| c.connect_timeout = Duration::from_secs(200));
                self.io.tcp_connect_with(patient).ok()
            }
        };
        let Some(conn) = conn else { return };
        let len = cx.chance.pick(&[8, 100, 3_000, 60_000]) + cx.chance.below(50) as u64;
        let is_sure = cx.is_liveness;
        self.conns.insert(conn, cx.model.flows.len());
        cx.model.flows.push(Flow { len, is_sure, is_quic, ..Flow::default() });
    }

    /// Takes up to so many events.
    pub(super) fn drain(&mut self, cx: &mut Cx, count_max: usize) {
        for _ in 0..count_max {
            let Some(event) = self.io.next_event() else { break };
            match event {
                Event::Connected { conn, .. } => {
                    let flow = &mut cx.model.flows[self.conns[&conn]];
                    assert!(!flow.is_connected, "it is connected twice");
                    flow.is_connected = true;
                    let stream = if flow.is_quic {
                        quic::open(&mut self.io, conn)
                    } else {
                        Some(StreamId::ZERO)
                    };
                    self.streams.extend(stream.map(|stream| (conn, stream)));
                }
                Event::StreamFrame { conn, data, .. } => {
                    let number = self.conns[&conn];
                    cx.model.came_back(number, data);
                    let flow = &mut cx.model.flows[number];
                    if flow.echoed == flow.len {
                        flow.is_done = true;
                        let _ = match flow.is_quic {
                            true => self.io.close(conn),
                            false => self.io.close_graceful(conn, Duration::from_secs(5)),
                        };
                    }
                }
                Event::UdpRecv { data, .. } => udp::came_back(data, cx),
                Event::ReadClosed { conn, .. } => {
                    let _ = self.io.close_graceful(conn, Duration::from_secs(5));
                }
                Event::Disconnected { conn, error_code, .. } => {
                    let number = self.conns.remove(&conn).expect("it ends once");
                    self.streams.remove(&conn);
                    cx.ended(number, error_code);
                }
                _ => {}
            }
        }
    }
}

impl Client {
    /// Its datagrams seem to come from another address from now on.
    pub(super) fn move_on(&mut self, world: &World, cx: &Cx) {
        let mut conns = self.conns.iter();
        let moving = conns.find(|(_, flow)| {
            let flow = &cx.model.flows[**flow];
            flow.is_quic && flow.is_connected
        });
        let Some((conn, _)) = moving else { return };
        if let Some(port) = quic::local(&mut self.io, *conn) {
            world.rebind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
    }
}

/// Writes the next piece, if what is on its way allows it.
fn write(io: &mut Io, conn: ConnId, stream: StreamId, number: usize, cx: &mut Cx) {
    let piece = 1 + cx.chance.below(PIECE_MAX as usize) as u64;
    let flow = &mut cx.model.flows[number];
    let until = flow.len.min(flow.echoed + WINDOW).min(flow.written + piece);
    if !flow.is_connected || flow.is_done || until <= flow.written {
        return;
    }
    let data = bytes(number as u64, 0, flow.written, until);
    if let Ok(count) = io.stream_write(conn, stream, &data) {
        flow.written += count as u64;
    }
}
