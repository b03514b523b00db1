#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! An echo server of several shards: `cargo run --release --features http,tls,quic --example
//! cluster -- 127.0.0.1:7000 2`. TCP and UDP are at the port that is given, TLS and QUIC at the
//! next one, HTTP behind it (`POST /` is echoed); with port 0 each is where there is one free. The
//! certificate is for `localhost`, and lasts as long as the process.
//!
//! SIGTERM and SIGINT end it in order: nothing new is taken, what was asked is answered, and
//! clients are told; the second one ends it at once. A shard that panics begins anew.

#[path = "quic/echo.rs"]
mod echo;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{
    ClusterConfig, ClusterEndpoint, ConnId, EndpointId, Event, IoCluster, OnPanic, Protocol,
    QuicListenConfig, Sender, ShardIo, TlsServerConfig, ZeroResponse,
};

use echo::Echo;

type Error = Box<dyn std::error::Error>;

/// The last port that has two behind it.
const LAST_PORT: u16 = u16::MAX - 2;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let addr: SocketAddr = args.first().map_or("127.0.0.1:7000", String::as_str).parse()?;
    let shards = args.get(1).map_or(Ok(2), |shards| shards.parse())?;
    let [next, last] = ports_behind(addr.port())?.map(|port| SocketAddr::new(addr.ip(), port));
    let mut cluster = IoCluster::new(ClusterConfig::new(shards).with(|c| {
        c.io.max_connections = 16_384;
        c.on_panic = OnPanic::Restart { max: 16 };
    }))?;
    let tcp = cluster.tcp_listen(addr)?;
    let udp = cluster.udp_bind(addr)?;
    let certificate = self_signed()?;
    let quic = cluster.quic_listen_with(QuicListenConfig::new(next, certificate.clone()))?;
    let tls = cluster.tls_listen(next, certificate)?;
    let http = cluster.http_listen(last)?;
    cluster.stop_on_signals()?;
    println!("listening on {}", cluster.local_addr(tcp)?);
    for (what, endpoint) in [("UDP", udp), ("TLS", tls), ("HTTP", http), ("QUIC", quic)] {
        println!("{what} {}", cluster.local_addr(endpoint)?);
    }
    println!("{}", cluster.effective_routing());
    let report = cluster.run(|shard| serve(shard, http))?;
    for shard in &report.shards {
        println!("shard {}: {:?} after {} restarts", shard.shard, shard.exit, shard.restarts);
    }
    if report.is_clean() { Ok(()) } else { Err("a shard failed".into()) }
}

/// The ports of TLS with QUIC, and of HTTP.
fn ports_behind(first: u16) -> Result<[u16; 2], Error> {
    match first {
        0 => Ok([0, 0]),
        1..=LAST_PORT => Ok([first + 1, first + 2]),
        _ => {
            Err(format!("port {first} has no two ports behind it: take 0, or up to {LAST_PORT}")
                .into())
        }
    }
}

fn serve(shard: &mut ShardIo, http: ClusterEndpoint) -> zero_io::Result<()> {
    let mut server = Server::new(shard.endpoint(http)?);
    while shard.is_running() {
        shard.poll(Duration::from_secs(60))?;
        let (mut events, mut sender) = shard.split();
        while let Some(event) = events.next_event() {
            server.on_event(&mut sender, &event);
        }
    }
    Ok(())
}

/// What one shard keeps of its connections. Those of HTTP end by themselves; of the others, nobody
/// else knows when they may.
struct Server {
    http: EndpointId,
    streams: HashSet<ConnId>,
    of_quic: HashSet<ConnId>,
    quic: Echo,
    is_draining: bool,
}

impl Server {
    fn new(http: EndpointId) -> Self {
        let (streams, of_quic) = (HashSet::new(), HashSet::new());
        Self { http, streams, of_quic, quic: Echo::default(), is_draining: false }
    }

    fn on_event(&mut self, sender: &mut Sender<'_>, event: &Event<'_>) {
        match *event {
            Event::Connected { endpoint, .. } if endpoint == Some(self.http) => {}
            Event::Connected { conn, protocol: Protocol::Quic, .. } => {
                self.of_quic.insert(conn);
            }
            Event::Connected { conn, .. } => {
                self.streams.insert(conn);
            }
            Event::Disconnected { conn, .. } => {
                self.streams.remove(&conn);
                if self.of_quic.remove(&conn) {
                    self.quic.on_event(sender, event);
                }
            }
            Event::Draining { .. } => {
                self.is_draining = true;
                let all = self.streams.drain().chain(self.of_quic.iter().copied());
                all.for_each(|conn| end(sender, conn));
            }
            Event::StreamFrame { conn, .. }
            | Event::ReadClosed { conn, .. }
            | Event::Writable { conn, .. }
            | Event::StreamReset { conn, .. }
            | Event::StopSending { conn, .. }
            | Event::Datagram { conn, .. }
                if self.of_quic.contains(&conn) =>
            {
                self.quic.on_event(sender, event);
            }
            _ => echo(sender, event, self.is_draining),
        }
    }
}

/// Who has gone by now need not be answered.
fn echo(sender: &mut Sender<'_>, event: &Event<'_>, is_draining: bool) {
    match *event {
        Event::StreamFrame { conn, stream, data, .. } => {
            let sent = sender.forward(conn, stream, data);
            let _ = sent.or_else(|_| sender.close(conn));
            if is_draining {
                // It came late, and has been answered once.
                end(sender, conn);
            }
        }
        Event::ReadClosed { conn, .. } => end(sender, conn),
        Event::UdpRecv { endpoint, from, data, .. } => {
            let _ = sender.udp_forward(endpoint, from, data);
        }
        Event::HttpRequest { conn, id, request } if request.body_follows() => {
            let _ = sender.http_respond(conn, id, ZeroResponse::ok().stream());
        }
        Event::HttpRequest { conn, id, request } => {
            let _ = sender.http_respond(conn, id, ZeroResponse::ok().bytes(request.body()));
        }
        Event::HttpBodyChunk { conn, id, data, last } => {
            let sent = sender.http_forward(conn, id, data);
            let _ = if last { sent.and_then(|()| sender.http_finish(conn, id)) } else { sent };
        }
        _ => {}
    }
}

/// Sends what is still to be sent, and says goodbye.
fn end(sender: &mut Sender<'_>, conn: ConnId) {
    let _ = sender.close_graceful(conn, Duration::ZERO);
}

fn self_signed() -> Result<TlsServerConfig, Error> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let config = TlsServerConfig::from_pem_bytes(made.cert.pem(), made.signing_key.serialize_pem());
    Ok(config.build()?)
}
