//! What paths do to connections: trains that are refused, packets that are too long, losses; and
//! what the congestion controllers and `conn_stats` make of it, through the public surface.

use std::time::Duration;

use zero_io::sim::{Fault, Faults, World};
use zero_io::{Congestion, ConnId, EcnState, QuicStats, StreamDir};

use super::kit::{BOTH, CLIENT, Net, SERVER, pattern};

/// Echoes a piece over a new stream.
#[track_caller]
fn echo(net: &mut Net, conn: ConnId, len: usize) {
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
    net.send_all(CLIENT, conn, stream, &pattern(len));
    net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
    assert!(net.nodes[CLIENT].got(conn, stream).data == pattern(len));
}

fn quic(net: &mut Net, conn: ConnId) -> QuicStats {
    net.nodes[CLIENT].io.conn_stats(conn).unwrap().quic.unwrap()
}

#[test]
fn every_controller_carries_both_ways() {
    for backend in BOTH {
        for congestion in [Congestion::NewReno, Congestion::Cubic, Congestion::Bbr] {
            let mut net = Net::new(backend);
            net.nodes[SERVER].echoes = true;
            let (conn, _) = net.pair(
                |l| l.transport.congestion = congestion,
                |c| c.transport.congestion = congestion,
            );
            echo(&mut net, conn, 4 << 20);
            let stats = net.nodes[CLIENT].io.conn_stats(conn).unwrap();
            let is_paced = stats.quic.unwrap().pacing_rate > 0;
            assert_eq!(is_paced, congestion == Congestion::Bbr, "{stats:?}");
            // Small ones, with rests in between.
            for _ in 0..5 {
                echo(&mut net, conn, 100);
                net.run_for(Duration::from_millis(20));
            }
            net.all_home();
        }
    }
}

#[test]
fn a_paced_connection_that_rests_does_not_wake_its_shard() {
    let mut net = Net::new(super::kit::Backend::Sim);
    net.nodes[SERVER].echoes = true;
    let (conn, _) = net.pair(|_| (), |c| c.transport.congestion = Congestion::Bbr);
    echo(&mut net, conn, 1 << 20);
    net.run_for(Duration::from_secs(1));
    let world = net.world.clone().unwrap();
    let (before, start) = (world.operations(), world.now_ns());
    net.run_for(Duration::from_secs(5));
    let per_second = (world.operations() - before) * 1_000_000_000 / (world.now_ns() - start);
    assert!(per_second < 4000, "{per_second} operations a second at rest");
    net.all_home();
}

#[test]
fn figures_of_a_path_with_a_known_delay() {
    let world = World::new(7, Faults::none());
    world.set_faults(Faults::none().shaped(|shape| shape.latency_min_ns = 10_000_000));
    let mut net = Net::in_world(Some(world), 2, |_| ());
    net.nodes[SERVER].echoes = true;
    let (conn, _) = net.pair(|_| (), |_| ());
    echo(&mut net, conn, 100_000);
    let stats = net.nodes[CLIENT].io.conn_stats(conn).unwrap();
    let quic = stats.quic.unwrap();
    assert!((20_000..20_500).contains(&stats.rtt_min_us), "{stats:?}");
    assert!((20_000..26_000).contains(&stats.rtt_us), "{stats:?}");
    assert!((20_000..47_000).contains(&quic.rtt_latest_us), "{stats:?}");
    assert_eq!((stats.packets_lost, quic.bytes_lost, quic.congestion_events), (0, 0, 0));
    assert_eq!(quic.ecn, EcnState::On);
    net.all_home();
}

#[test]
fn losses_are_counted_and_made_good() {
    let world = World::new(7, Faults::none());
    let mut net = Net::in_world(Some(world.clone()), 2, |_| ());
    net.nodes[SERVER].echoes = true;
    let (conn, _) = net.pair(|_| (), |c| c.transport.congestion = Congestion::Bbr);
    world.set_faults(Faults::none().with(Fault::UdpLoss, 20_000));
    echo(&mut net, conn, 1 << 20);
    let stats = net.nodes[CLIENT].io.conn_stats(conn).unwrap();
    assert!(stats.packets_lost > 3 && stats.packets_lost < 120, "{stats:?}");
    assert!(quic(&mut net, conn).bytes_lost >= u64::from(stats.packets_lost) * 40);
    world.heal();
    net.all_home();
}
