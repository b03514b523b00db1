//! Packets of shards that are not there.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use zero_io::{FleetStats, IoCluster, IoError, QuicKeys, RoutingStrategy, code};

use super::site::{Site, config};
use crate::kit::slower;
use crate::relay::{Path, Relay};

/// A packet of a connection that is with shard 0: its id is that shard's.
fn packet_for_first(site: &mut Site) -> Vec<u8> {
    let relay = Relay::new(site.addr, 7, Path::CLEAR);
    for _ in 0..200 {
        let (at, shard, _) = site.connect_with(relay.addr, |_| ());
        site.echo(at, 3000);
        // One that looks like a packet of the application's, and is none.
        let mut last = relay.last();
        site.hang_up(at);
        if shard == 0 && last[0] & 0x80 == 0 {
            last.truncate(11);
            last.resize(200, 0x55);
            // What its end was about comes and goes.
            site.run_for(Duration::from_millis(50) * slower());
            return last;
        }
    }
    panic!("no connection came to shard 0");
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn answers(sockets: &[UdpSocket]) -> usize {
    let mut buffer = [0; 2048];
    let mut received = |socket: &UdpSocket| socket.recv_from(&mut buffer).is_ok();
    sockets.iter().map(|socket| std::iter::repeat(socket).take_while(|s| received(s)).count()).sum()
}

#[test]
fn any_shard_resets_for_a_dead_one() {
    for shards in [2, 4] {
        let mut site = Site::new(shards);
        let (at, shard, _) = site.connect();
        site.echo(at, 10_000);
        // It ends without a word.
        drop(site.shards[shard].take());
        let stream = site.clients[at].open();
        let begin = Instant::now();
        for _ in 0..100 {
            let client = &mut site.clients[at];
            if client.end.is_some() {
                break;
            }
            client.rebind("127.0.0.1");
            let _ = client.io.stream_write(client.conn, stream, &[1; 200]);
            site.run_for(Duration::from_millis(30));
        }
        assert_eq!(site.clients[at].end, Some(code::QUIC_STATELESS_RESET));
        assert!(begin.elapsed() < Duration::from_secs(10), "before the idle timeout");
        let stats = site.fleet();
        assert!(stats.resets_for_dead > 0 && stats.forward_down >= stats.resets_for_dead);
        assert_eq!((stats.forwarded_out, stats.forward_full), (0, 0));
    }
}

/// Once its supervisor knows that a shard is gone, nobody has to move for that.
#[test]
fn what_comes_to_a_dead_shard_is_led_to_the_others() {
    let routings = [
        RoutingStrategy::DcidDispatch,
        RoutingStrategy::ReusePortCbpf,
        RoutingStrategy::ReusePortEbpf,
    ];
    for routing in routings {
        let config = config(4).with(|c| c.routing = routing);
        match IoCluster::new(config.clone()) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(routing, RoutingStrategy::ReusePortEbpf, "{error}");
                assert!(matches!(error, IoError::RoutingRefused(_)), "{error}");
                continue;
            }
        }
        let mut site = Site::with(config, |_| ());
        let (at, shard, _) = site.connect();
        site.echo(at, 10_000);
        drop(site.shards[shard].take());
        for _ in 0..3 {
            site.cluster.supervise(Duration::from_millis(5)).unwrap();
        }
        let begin = Instant::now();
        let client = &mut site.clients[at];
        let stream = client.open();
        client.io.stream_write(client.conn, stream, &[1; 200]).unwrap();
        site.until("the reset", |site| site.clients[at].end.is_some());
        assert_eq!(site.clients[at].end, Some(code::QUIC_STATELESS_RESET), "{routing:?}");
        assert!(begin.elapsed() < Duration::from_secs(10), "before the idle timeout");
        assert!(site.fleet().resets_for_dead > 0);
        // Who comes anew is served by the others.
        for _ in 0..16 {
            let (at, other, _) = site.connect();
            assert_ne!(other, shard);
            site.echo(at, 1000);
        }
    }
}

/// Strangers to each other's keys say nothing, so no two clusters answer each other for ever.
#[test]
fn clusters_with_other_keys_do_not_answer() {
    let keys = QuicKeys::random().unwrap();
    let with = |keys: &QuicKeys| config(2).with(|c| c.keys = Some(keys.clone()));
    let mut one = Site::with(with(&keys), |_| ());
    let packet = packet_for_first(&mut one);
    for (keys, answered) in [(QuicKeys::random().unwrap(), false), (keys, true)] {
        let mut other = Site::with(with(&keys), |_| ());
        let sockets: Vec<UdpSocket> = (0..32).map(|_| socket()).collect();
        for socket in &sockets {
            socket.send_to(&packet, other.addr).unwrap();
            other.run_for(Duration::from_millis(25));
        }
        let stats = other.fleet();
        assert_eq!(answers(&sockets) > 0, answered, "{stats:?}");
        // Of the same keys, they are shard 0's, which resets them wherever they came.
        assert_eq!(stats.forwarded_in > 0, answered, "{stats:?}");
        assert_eq!(stats.forward_down, 0);
    }
}

#[test]
fn bursts_for_a_dead_shard() {
    const BURST: usize = 20_000;
    let mut site = Site::new(2);
    let packet = packet_for_first(&mut site);
    let (live, _) = site.connect_to(1);
    site.echo(live, 1000);
    drop(site.shards[0].take());
    let sockets: Vec<UdpSocket> = (0..16).map(|_| socket()).collect();
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    for round in 0..BURST / 200 {
        for at in 0..200 {
            // What the kernel does not take is lost.
            let _ = sockets[(round + at) % sockets.len()].send_to(&packet, site.addr);
        }
        let echo = Instant::now();
        site.echo(live, 1000);
        longest = longest.max(echo.elapsed());
    }
    let took = begin.elapsed();
    site.run_for(Duration::from_millis(50));
    let stats = site.fleet();
    assert!(stats.forward_down > BURST as u64 / 10, "{stats:?}");
    // One every 20 ms at the most.
    let resets_max = took.as_millis() as u64 / 20 + 5;
    assert!(stats.resets_for_dead >= 1 && stats.resets_for_dead <= resets_max, "{stats:?}");
    assert_eq!(answers(&sockets) as u64, stats.resets_for_dead);
    assert_eq!((stats.forwarded_out, stats.forward_full), (0, 0));
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

/// A shard that lives and does not run: what waits for it is bounded, and the rest is dropped.
#[test]
fn a_shard_that_does_not_run_costs_its_cells() {
    const CELLS: usize = 64;
    let mut site = Site::with(config(2).with(|c| c.forward_cells = CELLS), |_| ());
    let packet = packet_for_first(&mut site);
    let sockets: Vec<UdpSocket> = (0..16).map(|_| socket()).collect();
    let before = site.fleet();
    let mut sent = 0;
    while site.fleet().forward_full < 1000 {
        for socket in &sockets {
            let _ = socket.send_to(&packet, site.addr);
            sent += 1;
        }
        site.shard(1).io.poll(Duration::ZERO).unwrap();
        assert!(sent < 1_000_000, "{:?}", site.fleet());
    }
    let stats = site.fleet();
    assert_eq!(stats.forwarded_out - before.forwarded_out, CELLS as u64);
    assert_eq!(stats.forwarded_in, before.forwarded_in);
    // It takes what waits, and all is well again.
    site.run_for(Duration::from_millis(50));
    let after = site.fleet();
    assert!(after.forwarded_in >= stats.forwarded_out);
    let (at, _) = site.connect_to(0);
    site.move_elsewhere(at);
    site.echo(at, 100_000);
    site.all_home();
}

#[test]
fn too_long_for_a_cell_is_dropped() {
    let mut site = Site::new(2);
    let mut packet = packet_for_first(&mut site);
    packet.resize(3000, 0);
    let sockets: Vec<UdpSocket> = (0..32).map(|_| socket()).collect();
    for socket in &sockets {
        socket.send_to(&packet, site.addr).unwrap();
    }
    let before = site.fleet().forwarded_out;
    site.run_for(Duration::from_millis(50));
    let stats = site.fleet();
    assert!(stats.forward_too_long > 0, "{stats:?}");
    assert_eq!(stats.forwarded_out, before);
}

/// Once, whatever is in it: the shard that gets it deals with it.
#[test]
fn nothing_is_ferried_twice() {
    for shards in [2, 4] {
        let mut site = Site::new(shards);
        let packet = packet_for_first(&mut site);
        let before = site.fleet();
        let sockets: Vec<UdpSocket> = (0..64).map(|_| socket()).collect();
        for socket in &sockets {
            socket.send_to(&packet, site.addr).unwrap();
            site.run_for(Duration::from_millis(2));
        }
        site.until("all to be taken", |site| {
            let FleetStats { forwarded_in, forwarded_out, .. } = site.fleet();
            forwarded_in == forwarded_out
        });
        let first = site.shard(0).io.fleet_stats();
        let stats = site.fleet();
        let forwarded = stats.forwarded_out - before.forwarded_out;
        assert!(forwarded > 0 && forwarded < 64, "{stats:?}");
        assert_eq!(stats.forwarded_in, stats.forwarded_out);
        assert_eq!((first.forwarded_out, first.forwarded_in), (0, stats.forwarded_in));
        assert_eq!(stats.resets_for_dead, 0, "it is there, and resets them itself");
        assert!(answers(&sockets) > 0);
    }
}
