//! Data that is sent before the handshake is done: RFC 9001 §4.6.

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{
    ConnId, EndpointId, IoError, PeerAddr, QuicConnectConfig, QuicListenConfig, StreamDir,
    StreamId, TlsClientConfig, code,
};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER, Seen, pattern};
use super::resume::{over, ticket};

/// One way, in the simulator.
const DELAY: Duration = Duration::from_millis(10);

/// Nodes that are some way from each other.
fn far(backend: Backend, count: usize) -> Net {
    match backend {
        Backend::Uring => Net::with(backend, count, |_| ()),
        Backend::Sim => {
            let faults = Faults::none().shaped(|s| s.latency_min_ns = DELAY.as_nanos() as u64);
            Net::in_world(Some(World::new(7, faults)), count, |_| ())
        }
    }
}

/// A connection that may send early, with a ticket of the server.
fn early(net: &mut Net, addr: SocketAddr, tls: &TlsClientConfig) -> ConnId {
    let kept = ticket(net, addr, tls);
    assert!(kept.takes_early_data());
    dial(net, addr, tls, Some(kept))
}

fn dial(
    net: &mut Net,
    addr: SocketAddr,
    tls: &TlsClientConfig,
    kept: Option<zero_io::SessionTicket>,
) -> ConnId {
    net.dial(addr, |c| (c.tls, c.ticket, c.early_data) = (tls.clone(), kept, true))
}

fn at(seen: &[Seen], wanted: impl Fn(&Seen) -> bool) -> Option<usize> {
    seen.iter().position(wanted)
}

#[test]
fn early_data_comes_with_the_first_flight() {
    for backend in BOTH {
        let mut net = far(backend, 2);
        net.nodes[SERVER].echoes = true;
        let addr = net.listen(|l| l.early_data = true);
        let tls = net.client_tls(&["echo"]);
        let conn = early(&mut net, addr, &tls);
        let begin = net.now();
        let (stream, taken) = net.nodes[CLIENT].io.early_data_send(conn, b"so ").unwrap();
        assert_eq!((stream, taken), (StreamId::ZERO, 3));
        let io = &mut net.nodes[CLIENT].io;
        assert_eq!(io.stream_write(conn, stream, b"early"), Ok(5), "as long as it is");
        io.stream_finish(conn, stream).unwrap();
        // Nothing else is sent early without being asked for.
        assert_eq!(io.stream_open(conn, StreamDir::Bidi), Err(IoError::NotConnected { conn }));
        assert_eq!(io.send_datagram(conn, b"x"), Err(IoError::NotConnected { conn }));
        let before = net.nodes[SERVER].seen.len();
        net.until("the early data", |net| {
            net.nodes[SERVER].seen[before..].iter().any(|s| matches!(s, Seen::ReadClosed(..)))
        });
        let accepted = *net.nodes[SERVER].open.last().unwrap();
        assert_eq!(net.nodes[SERVER].got(accepted, stream).data, b"so early");
        if backend == Backend::Sim {
            let took = net.now() - begin;
            assert!(took < DELAY * 3 / 2, "{took:?}: one way, and no round trip before");
            assert_eq!(net.nodes[SERVER].io.may_be_replayed(accepted), Ok(true));
            assert!(net.nodes[SERVER].io.conn_tls_info(accepted).unwrap().resumed);
            assert!(!net.nodes[SERVER].has(&Seen::Secured(accepted)));
        }
        net.until("the echo, and the handshake", |net| {
            net.nodes[CLIENT].got(conn, stream).closed
                && net.nodes[SERVER].has(&Seen::Secured(accepted))
        });
        assert_eq!(net.nodes[SERVER].io.may_be_replayed(accepted), Ok(false));
        assert_eq!(net.nodes[CLIENT].got(conn, stream).data, b"so early");
        let seen = &net.nodes[CLIENT].seen;
        let answer = at(seen, |s| *s == Seen::EarlyData(conn, true)).unwrap();
        let connected = at(seen, |s| matches!(s, Seen::Connected { conn: c, .. } if *c == conn));
        assert!(answer < connected.unwrap());
        let seen = &net.nodes[SERVER].seen;
        let told = at(seen, |s| matches!(s, Seen::Connected { conn, .. } if *conn == accepted));
        assert!(told < at(seen, |s| *s == Seen::Secured(accepted)));
        let again = Err(IoError::EarlyDataUnavailable { conn });
        assert_eq!(net.nodes[CLIENT].io.early_data_send(conn, b"x"), again, "it is too late");
        net.all_home();
    }
}

#[test]
fn without_it_data_is_a_round_trip_later() {
    let mut net = far(Backend::Sim, 2);
    let addr = net.listen(|l| l.early_data = true);
    let tls = net.client_tls(&["echo"]);
    let kept = ticket(&mut net, addr, &tls);
    let begin = net.now();
    let conn = net.dial(addr, |c| (c.tls, c.ticket) = (tls.clone(), Some(kept)));
    let none = Err(IoError::EarlyDataUnavailable { conn });
    assert_eq!(net.nodes[CLIENT].io.early_data_send(conn, b"x"), none, "not asked for");
    net.until("the client's Connected", |net| net.nodes[CLIENT].open.contains(&conn));
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
    net.send_all(CLIENT, conn, stream, b"late");
    net.until("it", |net| net.nodes[SERVER].got.values().any(|got| got.closed));
    assert!(net.now() - begin > DELAY * 3);
    assert!(!net.nodes[SERVER].seen.iter().any(|seen| matches!(seen, Seen::Secured(_))));
    net.all_home();
}

#[test]
fn there_is_none_without_a_ticket() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|l| l.early_data = true);
        let tls = net.client_tls(&["echo"]);
        let conn = dial(&mut net, addr, &tls, None);
        let none = Err(IoError::EarlyDataUnavailable { conn });
        assert_eq!(net.nodes[CLIENT].io.early_data_send(conn, b"x"), none);
        net.connected(conn);
        assert!(!net.nodes[CLIENT].seen.iter().any(|s| matches!(s, Seen::EarlyData(..))));
        assert!(!net.nodes[SERVER].seen.iter().any(|s| matches!(s, Seen::Secured(_))));
        net.all_home();
    }
}

/// The listeners at which early data is not taken, each with what makes it so.
fn strangers(net: &mut Net, tls: &zero_io::TlsServerConfig) -> Vec<SocketAddr> {
    let other = net.server_tls(&["echo"]);
    let (same, off) = (tls.clone(), tls.clone());
    vec![
        // It has other sessions.
        net.listen(|l| (l.tls, l.early_data) = (other, true)),
        net.listen(|l| (l.tls, l.early_data) = (off, false)),
        // It would have other limits than the client remembers.
        net.listen(|l| {
            (l.tls, l.early_data) = (same, true);
            l.transport.stream_window /= 2;
        }),
    ]
}

#[test]
fn rejected_early_data_is_told_once() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let server_tls = net.server_tls(&["echo"]);
        let clone = server_tls.clone();
        let addr = net.listen(|l| (l.tls, l.early_data) = (clone, true));
        let tls = net.client_tls(&["echo"]);
        for elsewhere in strangers(&mut net, &server_tls) {
            let kept = ticket(&mut net, addr, &tls);
            let conn = dial(&mut net, elsewhere, &tls, Some(kept));
            let io = &mut net.nodes[CLIENT].io;
            let (first, _) = io.early_data_send(conn, b"lost").unwrap();
            let (second, _) = io.early_data_send(conn, &pattern(3000)).unwrap();
            assert_eq!((first.index(), second.index()), (0, 1));
            io.stream_finish(conn, second).unwrap();
            let (conn, accepted) = net.connected(conn);
            let io = &mut net.nodes[CLIENT].io;
            for gone in [first, second] {
                let none = Err(IoError::NoSuchStream { conn });
                assert_eq!(io.stream_write(conn, gone, b"x").map(drop), none);
                assert_eq!(io.stream_reset(conn, gone, 1), none);
            }
            net.run_for(Duration::from_millis(100));
            let told = net.nodes[CLIENT].seen.iter();
            let told: Vec<_> =
                told.filter(|s| matches!(s, Seen::EarlyData(c, _) if *c == conn)).collect();
            assert_eq!(told, [&Seen::EarlyData(conn, false)]);
            let got = net.nodes[SERVER].got.keys().filter(|(conn, _)| *conn == accepted).count();
            assert_eq!(got, 0, "nothing was sent again of itself");
            let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
            assert_eq!(stream, first, "numbers start over");
            net.send_all(CLIENT, conn, stream, b"on purpose");
            net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
            assert_eq!(net.nodes[CLIENT].got(conn, stream).data, b"on purpose");
            over(&mut net, conn);
        }
        net.all_home();
    }
}

#[test]
fn what_does_not_fit_waits() {
    // The window that the ticket remembers, our own to begin with, and what is taken early.
    let rows = [(20_000, 12_000, 3000), (5000, 40_000, 5000)];
    for (backend, (window, initial_window, early)) in
        BOTH.into_iter().flat_map(|backend| rows.map(|row| (backend, row)))
    {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let addr = net.listen(|l| {
            l.early_data = true;
            l.transport.stream_window = window;
            l.transport.max_bidi_streams = 1;
        });
        let tls = net.client_tls(&["echo"]);
        let kept = ticket(&mut net, addr, &tls);
        let conn = net.dial(addr, |c| {
            (c.tls, c.ticket, c.early_data) = (tls, Some(kept), true);
            c.transport.initial_window = Some(initial_window);
        });
        let data = pattern(100_000);
        let io = &mut net.nodes[CLIENT].io;
        let (stream, taken) = io.early_data_send(conn, &data).unwrap();
        assert_eq!(taken, early);
        let limit = IoError::StreamLimit { conn, dir: StreamDir::Bidi };
        assert_eq!(io.early_data_send(conn, b"x"), Err(limit));
        net.until("room", |net| net.nodes[CLIENT].has(&Seen::Writable(conn, stream)));
        assert!(net.nodes[CLIENT].has(&Seen::EarlyData(conn, true)));
        assert!(net.nodes[CLIENT].has(&Seen::Available(conn, StreamDir::Bidi)), "try again");
        net.send_all(CLIENT, conn, stream, &data[taken..]);
        net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
        assert_eq!(net.nodes[CLIENT].got(conn, stream).data, data);
        net.all_home();
    }
}

#[test]
fn a_retry_costs_a_round_trip_and_no_early_data() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|l| {
            (l.early_data, l.new_tokens) = (true, 0);
            l.retry = zero_io::RetryPolicy::Always;
        });
        let tls = net.client_tls(&["echo"]);
        let conn = early(&mut net, addr, &tls);
        let (stream, _) = net.nodes[CLIENT].io.early_data_send(conn, b"early").unwrap();
        net.nodes[CLIENT].io.stream_finish(conn, stream).unwrap();
        let (conn, accepted) = net.connected(conn);
        net.until("it", |net| net.nodes[SERVER].got(accepted, stream).closed);
        assert_eq!(net.nodes[SERVER].got(accepted, stream).data, b"early");
        assert!(net.nodes[CLIENT].has(&Seen::EarlyData(conn, true)));
        net.all_home();
    }
}

/// A socket of the third node, which answers nothing: what comes to it is the recording.
pub(crate) fn recorder(net: &mut Net) -> (EndpointId, SocketAddr) {
    let io = &mut net.nodes[2].io;
    let endpoint = io.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let PeerAddr::Inet(addr) = io.local_addr(endpoint).unwrap() else { panic!() };
    (endpoint, addr)
}

/// What the recorder got.
pub(crate) fn recording(net: &mut Net) -> Vec<Vec<u8>> {
    net.until("a recording", |net| net.nodes[2].seen.iter().any(|s| matches!(s, Seen::Udp(_))));
    net.run_for(Duration::from_millis(5));
    let seen = net.nodes[2].seen.iter();
    let data =
        seen.filter_map(|seen| if let Seen::Udp(data) = seen { Some(data.clone()) } else { None });
    data.collect()
}

pub(crate) fn play(net: &mut Net, from: EndpointId, to: SocketAddr, recording: &[Vec<u8>]) {
    for datagram in recording {
        net.nodes[2].io.udp_send_bytes(from, to, datagram).unwrap();
    }
}

/// Lets a handshake that nobody goes on with be given up and forgotten.
pub(crate) fn forgotten(net: &mut Net) {
    net.run_for(Duration::from_millis(300));
    net.until("it to be forgotten", |net| net.nodes[SERVER].io.is_idle());
}

#[test]
fn a_recording_of_early_data_is_good_once_at_the_most() {
    for backend in BOTH {
        let mut net = Net::with(backend, 3, |_| ());
        let server_tls = net.server_tls(&["echo"]);
        let listen = |l: &mut QuicListenConfig| {
            l.early_data = true;
            l.handshake_timeout = Duration::from_millis(200);
            l.transport.initial_rtt = Duration::from_millis(10);
        };
        let (one, two, other) = (server_tls.clone(), server_tls.clone(), net.server_tls(&["echo"]));
        let addr = net.listen(|l| (l.tls = one, listen(l)).1);
        let sibling = net.listen(|l| (l.tls = two, listen(l)).1);
        let stranger = net.listen(|l| (l.tls = other, listen(l)).1);
        let tls = net.client_tls(&["echo"]);
        let kept = ticket(&mut net, addr, &tls);
        let (recorder, nowhere) = recorder(&mut net);
        let conn = dial(&mut net, nowhere, &tls, Some(kept));
        let (stream, _) = net.nodes[CLIENT].io.early_data_send(conn, b"pay 100").unwrap();
        net.nodes[CLIENT].io.stream_finish(conn, stream).unwrap();
        let recording = recording(&mut net);
        net.nodes[CLIENT].io.close(conn).unwrap();
        let before = net.nodes[SERVER].accepted();
        let paid =
            |net: &Net| net.nodes[SERVER].got.values().filter(|g| g.data == b"pay 100").count();
        // Where nothing is known of the ticket.
        play(&mut net, recorder, stranger, &recording);
        forgotten(&mut net);
        assert_eq!((net.nodes[SERVER].accepted(), paid(&net)), (before, 0));
        // Where it is: this is as good as the client's own packets, but it never is secured.
        play(&mut net, recorder, addr, &recording);
        net.until("the payment", |net| paid(net) == 1);
        let accepted = *net.nodes[SERVER].open.last().unwrap();
        assert_eq!(net.nodes[SERVER].io.may_be_replayed(accepted), Ok(true));
        // Once more while it is there, and when it is forgotten, and at one that shares sessions.
        play(&mut net, recorder, addr, &recording);
        let (ended, _, clean) = net.end_of(SERVER, accepted);
        assert_eq!((ended, clean), (code::CONNECT_TIMEOUT, false));
        assert!(!net.nodes[SERVER].has(&Seen::Secured(accepted)));
        forgotten(&mut net);
        for again in [addr, sibling, addr] {
            play(&mut net, recorder, again, &recording);
            forgotten(&mut net);
        }
        assert_eq!((net.nodes[SERVER].accepted(), paid(&net)), (before + 1, 1));
        net.nodes[2].io.endpoint_close(recorder).unwrap();
        net.all_home();
    }
}

#[test]
fn to_a_host_nothing_is_sent_early() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        if let Some(world) = &net.world {
            world.name_host("localhost", &["127.0.0.1".parse().unwrap()]);
        }
        let addr = net.listen(|l| l.early_data = true);
        let tls = net.client_tls(&["echo"]);
        let kept = ticket(&mut net, addr, &tls);
        let conn = net.dial(addr, |c| {
            (c.tls, c.ticket, c.early_data) = (tls, Some(kept), true);
            c.target = ("localhost", addr.port()).into();
        });
        let none = Err(IoError::EarlyDataUnavailable { conn });
        assert_eq!(net.nodes[CLIENT].io.early_data_send(conn, b"x"), none);
        net.until("a connection", |net| net.nodes[CLIENT].open.contains(&conn));
        assert!(!net.nodes[CLIENT].has(&Seen::EarlyData(conn, true)));
        net.all_home();
    }
}

#[test]
fn early_data_needs_sessions_that_are_remembered() {
    let mut net = Net::new(Backend::Uring);
    let tls = net.server_builder(&["echo"]).session_cache(0).build().unwrap();
    let config = QuicListenConfig::new("127.0.0.1:0".parse().unwrap(), tls);
    let error = net.nodes[SERVER].io.quic_listen_with(config.with(|c| c.early_data = true));
    assert!(error.unwrap_err().to_string().contains("session_cache"));
    let tls = net.client_tls(&["echo"]);
    let config = QuicConnectConfig::new(("127.0.0.1", 9), tls);
    assert!(!config.early_data && config.ticket.is_none() && config.new_tokens);
}
