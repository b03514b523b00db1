//! Every shard of a cluster reads headers.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zero_io::{
    ClusterConfig, ClusterReadiness, Config, CpuAffinity, DrainOptions, Event, IoCluster, PeerAddr,
    StreamId, TcpListenConfig,
};

use crate::common::{dial, localhost};
use crate::kit::{CLIENT, DESTINATION, V1, inet, loopback};

#[test]
fn every_shard_hears_who_the_client_is() {
    let config = ClusterConfig::new(2).with(|c| {
        c.cpu_affinity = CpuAffinity::Off;
        c.io = Config::default().with(|io| io.debug.audit_every_tick = true);
    });
    let mut cluster = IoCluster::new(config).unwrap();
    let listen = TcpListenConfig::new(localhost()).with(|c| c.proxy = Some(loopback()));
    let endpoint = cluster.tcp_listen_with(listen).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let handle = cluster.handle();
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let told = Arc::clone(&seen);
    let running = std::thread::spawn(move || {
        cluster.run(|shard| {
            let number = shard.shard();
            while shard.is_running() {
                shard.poll(Duration::from_secs(60))?;
                let (mut events, mut sender) = shard.split();
                while let Some(event) = events.next_event() {
                    match event {
                        Event::Connected { conn, peer: PeerAddr::Inet(peer), .. } => {
                            assert!(sender.proxied_by(conn)?.is_some());
                            told.lock().unwrap().insert((peer.port(), number));
                            sender.stream_write(conn, StreamId::ZERO, b"x")?;
                        }
                        Event::ReadClosed { conn, .. } => sender.close(conn)?,
                        _ => {}
                    }
                }
            }
            Ok(())
        })
    });
    for port in 1..=40_u16 {
        let mut proxy = dial(addr);
        let line = format!("PROXY TCP4 192.0.2.1 198.51.100.2 {port} 443\r\n");
        proxy.write_all(line.as_bytes()).unwrap();
        proxy.read_exact(&mut [0]).unwrap();
    }
    let seen: Vec<(u16, u16)> = seen.lock().unwrap().iter().copied().collect();
    assert_eq!(
        seen.iter().map(|(port, _)| *port).collect::<Vec<_>>(),
        (1..=40).collect::<Vec<_>>()
    );
    assert_eq!(seen.iter().map(|(_, shard)| *shard).collect::<BTreeSet<_>>().len(), 2);
    handle.shutdown(DrainOptions::default()).unwrap();
    assert!(running.join().unwrap().unwrap().is_clean());
}

#[test]
fn who_spoke_for_a_client_is_known_where_its_connection_goes() {
    let config = ClusterConfig::new(2).with(|c| c.cpu_affinity = CpuAffinity::Off);
    let mut cluster = IoCluster::new(config).unwrap();
    let listen = TcpListenConfig::new(localhost()).with(|c| c.proxy = Some(loopback()));
    let endpoint = cluster.tcp_listen_with(listen).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let handle = cluster.handle();
    let running = std::thread::spawn(move || {
        cluster.run(|shard| {
            let other = 1 - shard.shard();
            while shard.is_running() {
                shard.poll(Duration::from_secs(60))?;
                let (mut events, mut sender) = shard.split();
                while let Some(event) = events.next_event() {
                    let Event::Connected { conn, peer, .. } = event else { continue };
                    assert_eq!(peer, inet(CLIENT));
                    let via = sender.proxied_by(conn)?.expect("it is known on both");
                    assert_eq!(via.destination, Some(DESTINATION.parse().unwrap()));
                    match sender.user_data(conn)? {
                        0 => {
                            sender.set_user_data(conn, 1)?;
                            sender.hand_over(conn, other)?;
                        }
                        _ => drop(sender.stream_write(conn, StreamId::ZERO, b"x")?),
                    }
                }
            }
            Ok(())
        })
    });
    while handle.readiness() != ClusterReadiness::Ready {
        std::thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..8 {
        let mut proxy = dial(addr);
        proxy.write_all(V1).unwrap();
        proxy.read_exact(&mut [0]).unwrap();
    }
    handle.shutdown(DrainOptions::default()).unwrap();
    let report = running.join().unwrap().unwrap();
    assert!(report.is_clean(), "{report:?}");
}
