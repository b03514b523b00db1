//! What a listener's socket is made with.

use std::time::Duration;

use zero_io::sim::{Fault, Faults, World};
use zero_io::{IoError, PeerAddr, QuicListenConfig, StreamDir, code};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER, pattern};

fn echo(net: &mut Net, conn: zero_io::ConnId, len: usize) {
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
    let data = pattern(len);
    net.send_all(CLIENT, conn, stream, &data);
    net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
    assert!(net.nodes[CLIENT].got(conn, stream).data == data);
}

/// Trains that are received in one piece, or datagram by datagram: the same bytes.
#[test]
fn with_and_without_offloads_the_same_arrives() {
    for backend in BOTH {
        for (gro, gso) in [(true, false), (false, true), (false, false)] {
            let gso = if gso { zero_io::Toggle::Auto } else { zero_io::Toggle::Off };
            let mut net = Net::new(backend);
            net.nodes[SERVER].echoes = true;
            let (conn, _) =
                net.pair(|l| (l.gro, l.transport.gso) = (gro, gso), |c| c.transport.gso = gso);
            echo(&mut net, conn, 300_000);
            net.all_home();
        }
    }
}

/// A device that cannot segment: what was in a train goes packet by packet, nothing of it is lost,
/// and the connection makes no more trains.
#[test]
fn where_trains_are_refused_packets_go_one_by_one() {
    let faults = Faults::none().with(Fault::UdpTrainError, 1_000_000);
    let mut net = Net::in_world(Some(World::new(7, faults)), 2, |_| ());
    net.nodes[SERVER].echoes = true;
    let (conn, _) = net.pair(|_| (), |_| ());
    echo(&mut net, conn, 1_000_000);
    let stats = net.nodes[CLIENT].io.conn_stats(conn).unwrap();
    assert_eq!((stats.packets_lost, net.nodes[CLIENT].io.io_stats().udp_errors), (0, 0));
    net.all_home();
}

#[test]
fn the_kernel_is_asked_for_so_much_room() {
    let mut net = Net::new(Backend::Uring);
    let mut room = |recv_buffer| {
        let (endpoint, _) = net.listen_at(SERVER, "127.0.0.1:0", |l| {
            (l.recv_buffer, l.send_buffer) = (recv_buffer, recv_buffer);
        });
        net.nodes[SERVER].io.udp_recv_buffer(endpoint).unwrap()
    };
    let (usual, less, little) = (room(None), room(Some(100_000)), room(Some(20_000)));
    assert!(little < less && less != usual, "{little}, {less}, {usual}");
    net.all_home();
}

#[test]
fn two_may_listen_at_one_address_if_both_say_so() {
    let mut net = Net::new(Backend::Uring);
    let (_, addr) = net.listen_at(SERVER, "127.0.0.1:0", |l| l.reuseport = true);
    net.listen_at(SERVER, &addr.to_string(), |l| l.reuseport = true);
    let config = QuicListenConfig::new(addr, net.server_tls(&["echo"]));
    let alone = net.nodes[SERVER].io.quic_listen_with(config);
    assert!(matches!(alone, Err(IoError::AddrInUse { .. })), "{alone:?}");
    net.all_home();
}

#[test]
fn an_ipv6_wildcard_may_leave_ipv4_to_others() {
    let mut net = Net::new(Backend::Uring);
    let (_, addr) = net.listen_at(SERVER, "[::]:0", |l| l.dual_stack = false);
    let v4 = format!("127.0.0.1:{}", addr.port());
    let conn = net.dial(v4.parse().unwrap(), |c| c.connect_timeout = Duration::from_millis(200));
    assert_eq!(net.end_of(CLIENT, conn).0, code::CONNECT_TIMEOUT);
    let (_, other) = net.listen_at(SERVER, &v4, |_| ());
    for target in [v4.as_str(), &format!("[::1]:{}", addr.port())] {
        let conn = net.dial(target.parse().unwrap(), |_| ());
        let (_, accepted) = net.connected(conn);
        let local = net.nodes[SERVER].io.conn_local_addr(accepted).unwrap();
        assert_eq!(local, PeerAddr::Inet(target.parse().unwrap()));
    }
    assert_eq!(other.to_string(), v4);
    net.all_home();
}
