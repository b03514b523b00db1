//! How listeners and connections are: each bound small in some seeds.

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{
    AckFrequency, Config, Congestion, DatagramsFull, MtuDiscovery, QuicConnectConfig,
    QuicDatagrams, QuicListenConfig, QuicReceive, QuicTransport, RetryPolicy, TlsClientConfig,
    TlsServerConfig, Toggle,
};

use super::Cx;
use crate::chance::Chance;
use crate::scenario;

pub(super) fn node(chance: &mut Chance) -> Config {
    scenario::config(chance).with(|c| {
        c.quic_recv_buffers = chance.pick(&[8, 16, 64]);
        c.quic_send_cells = chance.pick(&[8, 32]);
    })
}

/// Limits that cut nothing short when all is well.
fn patient(cx: &mut Cx) -> QuicTransport {
    let shape = cx.world.faults().shape;
    let len_max = shape.datagram_len_max.min(shape.datagram_len_carried);
    let chance = &mut cx.chance;
    QuicTransport::default().with(|t| {
        t.idle_timeout = Some(Duration::from_secs(60));
        t.keep_alive = chance.pick(&[None, Some(Duration::from_secs(10))]);
        t.max_bidi_streams = chance.pick(&[1, 3, 100]);
        t.max_uni_streams = chance.pick(&[1, 3, 100]);
        t.stream_window = chance.pick(&[4_096, 20_000, 1_250_000]);
        t.conn_window = t.stream_window.max(chance.pick(&[4_096, 50_000, 16 << 20]));
        t.send_window = chance.pick(&[16 << 10, 100_000, 4 << 20]);
        t.fair = chance.once_in(2);
        t.congestion = chance.pick(&[Congestion::Cubic, Congestion::NewReno]);
        t.initial_window = chance.pick(&[None, Some(2_400), Some(100_000)]);
        t.initial_rtt = Duration::from_millis(chance.pick(&[1, 333, 333]));
        t.initial_mtu = if len_max >= 1_400 { chance.pick(&[1_200, 1_400]) } else { 1_200 };
        let mut discovery = MtuDiscovery::default();
        discovery.max = chance.pick(&[1_452, 9_000]);
        t.mtu_discovery = chance.pick(&[None, Some(discovery), Some(discovery)]);
        t.ecn = chance.once_in(2);
        t.ack_frequency = chance.once_in(3).then(AckFrequency::default);
        let mut some = QuicDatagrams::default();
        some.when_full = chance.pick(&[DatagramsFull::DropOldest, DatagramsFull::Refuse]);
        some.recv_bytes = chance.pick(&[66 << 10, 256 << 10]);
        some.send_bytes = chance.pick(&[2_048, 20_000, 256 << 10]);
        t.datagrams = chance.pick(&[None, Some(some), Some(some)]);
        t.gso = chance.pick(&[Toggle::Auto, Toggle::Auto, Toggle::Off]);
    })
}

fn transport(cx: &mut Cx, is_patient: bool) -> QuicTransport {
    let mut patient = patient(cx);
    if cx.parts.is_wide {
        patient.receive = cx.chance.pick(&[QuicReceive::Push, QuicReceive::Pull]);
    }
    if is_patient {
        return patient;
    }
    let chance = &mut cx.chance;
    patient.with(|t| {
        let ms = chance.pick(&[10, 200, 2_000, 30_000]);
        t.idle_timeout = (!chance.once_in(4)).then(|| Duration::from_millis(ms));
        t.keep_alive = chance.once_in(3).then(|| Duration::from_millis(ms / 3));
    })
}

pub(super) fn listen(cx: &mut Cx, tls: TlsServerConfig, is_patient: bool) -> QuicListenConfig {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let transport = transport(cx, is_patient);
    let chance = &mut cx.chance;
    QuicListenConfig::new(any, tls).with(|l| {
        l.transport = transport;
        l.retry = chance.pick(&[RetryPolicy::Always, RetryPolicy::UnderLoad, RetryPolicy::Never]);
        l.gro = chance.once_in(2);
        l.migration = chance.once_in(2);
        // Sockets that hold four datagrams lose many.
        l.handshake_timeout = Duration::from_secs(60);
        if !is_patient {
            l.incoming_max = chance.pick(&[1, 4, 256]);
            l.handshake_timeout = Duration::from_millis(chance.pick(&[100, 1_000, 10_000]));
        }
    })
}

pub(super) fn connect(cx: &mut Cx, to: SocketAddr, tls: TlsClientConfig) -> QuicConnectConfig {
    let is_patient = cx.is_liveness;
    let transport = transport(cx, is_patient);
    let ms = if is_patient { 60_000 } else { cx.chance.pick(&[10, 300, 3_000, 30_000]) };
    QuicConnectConfig::new(to, tls).with(|c| {
        c.transport = transport;
        c.connect_timeout = Duration::from_millis(ms);
    })
}
