//! Paths that lose, change and swallow packets.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use zero_io::{ConnId, ScidGenerator, StreamDir, code};

use super::kit::{Backend, CLIENT, Net, PATIENCE, SERVER, Seen, pattern};
use super::relay::{CLIENTS, Path, Relay, SERVER as FROM_SERVER};

/// Three of ten packets gone: each probe that fails doubles the wait for the next one, so that one
/// handshake in some thousands takes more than half a minute.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(100);

/// A network of one path.
struct Line {
    net: Net,
    relay: Relay,
}

impl Line {
    fn new(seed: u64, path: Path, idle: Duration) -> Self {
        let mut net = Net::new(Backend::Uring);
        net.nodes[SERVER].echoes = true;
        let server = net.listen(|l| {
            l.handshake_timeout = HANDSHAKE_PATIENCE;
            l.transport.idle_timeout = Some(idle);
            l.transport.initial_rtt = Duration::from_millis(20);
        });
        Self { net, relay: Relay::new(server, seed, path) }
    }

    fn dial(&mut self, idle: Duration) -> ConnId {
        self.net.dial(self.relay.addr, |c| {
            c.connect_timeout = HANDSHAKE_PATIENCE;
            c.transport.idle_timeout = Some(idle);
            c.transport.initial_rtt = Duration::from_millis(20);
        })
    }

    /// An echo of so many bytes.
    #[track_caller]
    fn echo(&mut self, conn: ConnId, len: usize) {
        let stream = self.net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).expect("one");
        let data = pattern(len);
        self.net.send_all(CLIENT, conn, stream, &data);
        self.net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
        assert!(self.net.nodes[CLIENT].got(conn, stream).data == data, "other bytes came back");
    }

    /// Connections one after the other, each of which echoes something.
    fn handshakes(&mut self, count: usize) {
        self.net.patience = HANDSHAKE_PATIENCE;
        for _ in 0..count {
            let conn = self.dial(HANDSHAKE_PATIENCE);
            let (conn, _) = self.net.connected(conn);
            self.echo(conn, 1_000);
            self.net.nodes[CLIENT].io.close(conn).expect("it is open");
        }
    }

    fn transfer(&mut self, len: usize) {
        let conn = self.dial(PATIENCE);
        let (conn, _) = self.net.connected(conn);
        self.echo(conn, len);
        self.finish();
    }

    fn finish(&mut self) {
        self.relay.set(Path::CLEAR);
        self.net.all_home();
    }
}

#[test]
fn handshakeloss() {
    let mut line = Line::new(1, Path { loss: 300, ..Path::CLEAR }, HANDSHAKE_PATIENCE);
    line.handshakes(20);
    line.finish();
}

#[test]
fn transferloss() {
    let path = Path { loss: 20, reorder: 20, duplicate: 20, ..Path::CLEAR };
    Line::new(2, path, PATIENCE).transfer(2 << 20);
}

#[test]
fn handshakecorruption() {
    let mut line = Line::new(3, Path { corrupt: 300, ..Path::CLEAR }, HANDSHAKE_PATIENCE);
    line.handshakes(20);
    line.finish();
}

#[test]
fn transfercorruption() {
    Line::new(4, Path { corrupt: 20, ..Path::CLEAR }, PATIENCE).transfer(2 << 20);
}

#[test]
fn longrtt() {
    let path = Path { delay: Duration::from_millis(200), ..Path::CLEAR };
    Line::new(5, path, PATIENCE).transfer(200_000);
}

#[test]
fn a_narrow_path_is_found_to_be_so() {
    Line::new(6, Path { len_max: 1_300, ..Path::CLEAR }, PATIENCE).transfer(1 << 20);
}

#[test]
fn blackhole() {
    let mut line = Line::new(7, Path::CLEAR, PATIENCE);
    let conn = line.dial(PATIENCE);
    let (conn, _) = line.net.connected(conn);
    line.echo(conn, 100_000);
    line.relay.set(Path { holes: [true; 2], ..Path::CLEAR });
    let stream = line.net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).expect("a stream");
    let data = pattern(100_000);
    line.net.send_all(CLIENT, conn, stream, &data);
    line.net.run_for(Duration::from_secs(2));
    assert!(line.net.nodes[CLIENT].got(conn, stream).data.is_empty(), "through a hole");
    line.relay.set(Path::CLEAR);
    line.net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
    assert!(line.net.nodes[CLIENT].got(conn, stream).data == data);
    line.finish();
}

#[test]
fn idle_timeout() {
    let idle = Duration::from_millis(600);
    let mut line = Line::new(8, Path::CLEAR, idle);
    let conn = line.dial(idle);
    let (conn, accepted) = line.net.connected(conn);
    line.relay.set(Path { holes: [true; 2], ..Path::CLEAR });
    assert_eq!(line.net.end_of(CLIENT, conn).0, code::IDLE_TIMEOUT);
    assert_eq!(line.net.end_of(SERVER, accepted).0, code::IDLE_TIMEOUT);
    line.finish();
}

/// RFC 9000 §8.1: to an address that was not seen to be the client's, at most three times what came
/// from there. The machine sends a whole packet where a byte of that is left, so that it may be one
/// beyond.
#[test]
fn amplificationlimit() {
    let path = Path { holes: [false, true], ..Path::CLEAR };
    let mut line = Line::new(9, path, PATIENCE);
    let conn = line.dial(PATIENCE);
    let mut worst = 0.0_f64;
    for _ in 0..30 {
        line.net.run_for(Duration::from_millis(100));
        // What comes from clients is counted after what it is answered with may have been.
        let sent = line.relay.bytes(FROM_SERVER);
        let arrived = line.relay.bytes(CLIENTS);
        assert!(sent <= 3 * arrived + 1_500, "{sent} bytes for {arrived}");
        worst = worst.max(sent as f64 / arrived.max(1) as f64);
    }
    eprintln!(
        "at most {worst:.2} times what came, {} datagrams",
        line.relay.datagrams(FROM_SERVER)
    );
    assert!(worst > 1.0, "it was answered");
    line.net.nodes[CLIENT].io.close(conn).expect("it waits");
    line.finish();
}

#[test]
fn rebindings_without_end_leave_connection_ids() {
    let mut line = Line::new(10, Path::CLEAR, PATIENCE);
    let conn = line.dial(PATIENCE);
    let (conn, _) = line.net.connected(conn);
    for _ in 0..40 {
        line.relay.rebind();
        line.echo(conn, 3_000);
    }
    let moves = line.net.nodes[SERVER].seen.iter();
    let moves = moves.filter(|seen| matches!(seen, Seen::Migrated(..))).count();
    assert!(moves >= 20, "{moves} moves were told");
    line.finish();
}

/// RFC 9000 §9.5: "An endpoint MUST NOT reuse a connection ID when sending from more than one local
/// address", so that who watches the path does not see who has moved.
#[test]
fn each_move_is_under_another_connection_id() {
    let mut line = Line::new(13, Path::CLEAR, PATIENCE);
    let conn = line.dial(PATIENCE);
    let (conn, _) = line.net.connected(conn);
    line.net.confirmed(conn);
    let mut ids = Vec::new();
    for _ in 0..20 {
        line.echo(conn, 3_000);
        let last = line.relay.last();
        assert!(last[0] & 0x80 == 0, "a short header");
        ids.push(last[1..=ScidGenerator::CID_LEN].to_vec());
        line.net.nodes[CLIENT].io.quic_rebind(conn, "127.0.0.1:0".parse().unwrap()).unwrap();
    }
    line.echo(conn, 3_000);
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    line.finish();
}

/// The server gives others when it hears of one that is not used any more: until then there are
/// some to spare.
#[test]
fn four_moves_need_no_answer_in_between() {
    let mut line = Line::new(14, Path::CLEAR, PATIENCE);
    let conn = line.dial(PATIENCE);
    let (conn, _) = line.net.connected(conn);
    line.echo(conn, 3_000);
    line.net.confirmed(conn);
    let mut ids = vec![line.relay.last()[1..=ScidGenerator::CID_LEN].to_vec()];
    line.relay.set(Path { holes: [true; 2], ..Path::CLEAR });
    for _ in 0..4 {
        let before = line.relay.datagrams(CLIENTS);
        line.net.nodes[CLIENT].io.quic_rebind(conn, "127.0.0.1:0".parse().unwrap()).unwrap();
        line.net.until("a packet from there", |_| line.relay.datagrams(CLIENTS) > before);
        ids.push(line.relay.last()[1..=ScidGenerator::CID_LEN].to_vec());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    line.finish();
}

/// The relay stands for a client that moves to the address it was offered; ours does not.
#[test]
fn a_client_at_the_preferred_address_is_answered_from_there() {
    let first = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let first = first.expect("a free port");
    let second = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), first.port());
    for is_offered in [true, false] {
        let mut net = Net::new(Backend::Uring);
        net.nodes[SERVER].echoes = true;
        net.listen(|l| {
            l.addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, first.port()));
            l.preferred_v4 = is_offered.then_some(second);
        });
        let mut line = Line { net, relay: Relay::new(first, 20, Path::CLEAR) };
        let conn = line.dial(PATIENCE);
        let (conn, _) = line.net.connected(conn);
        line.echo(conn, 100_000);
        assert_eq!(line.relay.answered_from(), Some(first));
        line.relay.redirect(second.into());
        line.echo(conn, 100_000);
        let expected = if is_offered { second.into() } else { first };
        assert_eq!(line.relay.answered_from(), Some(expected));
        // What is late, or forged, at the old one does not call it back.
        line.relay.redirect(first);
        line.echo(conn, 10_000);
        assert_eq!(line.relay.answered_from(), Some(expected));
        line.finish();
    }
}

/// The close is lost, and whoever goes on is told again.
#[test]
fn a_close_that_is_lost_is_told_again() {
    for closer in [CLIENT, SERVER] {
        let mut line = Line::new(11, Path::CLEAR, PATIENCE);
        let conn = line.dial(PATIENCE);
        let (conn, accepted) = line.net.connected(conn);
        line.echo(conn, 10_000);
        let ids = [accepted, conn];
        line.relay.set(Path { holes: [true; 2], ..Path::CLEAR });
        line.net.nodes[closer].io.close_with(ids[closer], 7, b"lost").expect("it is open");
        line.net.round();
        line.net.round();
        line.relay.set(Path::CLEAR);
        let other = 1 - closer;
        let io = &mut line.net.nodes[other].io;
        let stream = io.stream_open(ids[other], StreamDir::Uni).expect("a stream");
        io.stream_write(ids[other], stream, b"anybody there?").expect("it is open");
        // From the drain, or by a stateless reset where that is over.
        let (code, ..) = line.net.end_of(other, ids[other]);
        assert!([code::QUIC_APP | 7, code::QUIC_STATELESS_RESET].contains(&code), "{code:#x}");
        line.finish();
    }
}

#[test]
fn close_in_every_state() {
    for rounds in 0..8 {
        for closer in [CLIENT, SERVER] {
            let path = Path { delay: Duration::from_millis(2), ..Path::CLEAR };
            let mut line = Line::new(12, path, Duration::from_secs(2));
            let conn = line.dial(Duration::from_secs(2));
            for _ in 0..rounds {
                line.net.run_for(Duration::from_millis(1));
            }
            let of_server = line.net.nodes[SERVER].open.first().copied();
            let id = if closer == CLIENT { Some(conn) } else { of_server };
            let Some(id) = id else { continue };
            line.net.nodes[closer].io.close_with(id, 9, b"now").expect("it is open");
            assert_eq!(line.net.end_of(closer, id).0, code::LOCAL_CLOSE);
            line.net.until("both ends", |net| net.nodes.iter().all(|node| node.open.is_empty()));
            line.finish();
        }
    }
}
