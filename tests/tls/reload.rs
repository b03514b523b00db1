//! Certificates that are replaced while the listener runs, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use zero_io::{IoError, TlsConfigFault};

use super::certs::World;
use super::common::{STREAM, Seen, Shard};
use super::kit::{ClientPeer, VERSIONS, listen};

/// Connects and gives the certificate that it was shown.
fn shown(peer: &mut ClientPeer) -> Vec<u8> {
    peer.shake();
    peer.tls.peer_certificates().expect("a certificate")[0].to_vec()
}

#[test]
fn under_load_new_connections_get_the_new_certificate() {
    let world = Arc::new(World::new());
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let handle = shard.io.enable_cert_hot_reload(endpoint).unwrap();
    let names = ["localhost", "127.0.0.1"];
    let certs: Vec<_> = (0..4).map(|_| world.ca.issue(&names)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicUsize::new(0));
    // Clients that come and go all the while; each must see one of the certificates, and in order.
    let known: Vec<Vec<u8>> = std::iter::once(&world.server)
        .chain(&certs)
        .map(|issued| issued.cert_der.clone())
        .collect();
    let clients: Vec<_> = (0..3)
        .map(|i| {
            let (world, stop) = (Arc::clone(&world), Arc::clone(&stop));
            let (made, known) = (Arc::clone(&made), known.clone());
            std::thread::spawn(move || {
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    let mut peer = ClientPeer::dial(&world.ca, VERSIONS[i % 2], addr);
                    let cert = shown(&mut peer);
                    let at = known.iter().position(|k| *k == cert).expect("a known one");
                    assert!(at >= last, "an old certificate after a new one");
                    last = at;
                    peer.write(b"ping");
                    assert_eq!(peer.read_exact(4), b"ping");
                    peer.close_notify();
                    made.fetch_add(1, Ordering::Relaxed);
                }
                last
            })
        })
        .collect();
    // Reloads come from another thread.
    let reloads = {
        let (made, stop, world) = (Arc::clone(&made), Arc::clone(&stop), Arc::clone(&world));
        std::thread::spawn(move || {
            let wait_for = |more: usize| {
                let goal = made.load(Ordering::Relaxed) + more;
                while made.load(Ordering::Relaxed) < goal {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            for (i, issued) in certs.iter().enumerate() {
                wait_for(12);
                handle.reload_from_bytes(&issued.cert_pem, &issued.key_pem).unwrap();
                // A bad pair in between changes nothing.
                let other = &certs[(i + 1) % certs.len()];
                let error = handle.reload_from_bytes(&issued.cert_pem, &other.key_pem).unwrap_err();
                assert_eq!(error.fault(), TlsConfigFault::KeyMismatch);
                let missing = handle
                    .reload_from_pem(world.dir.path("no.pem"), world.dir.path("no.key"))
                    .unwrap_err();
                assert!(matches!(missing.fault(), TlsConfigFault::FileUnreadable(_)));
            }
            wait_for(12);
            stop.store(true, Ordering::Relaxed);
        })
    };
    let mut at = 0;
    let mut serve = |shard: &mut Shard| {
        let fresh: Vec<Seen> = shard.seen[at..].to_vec();
        at = shard.seen.len();
        for seen in fresh {
            match seen {
                Seen::Frame { conn, data, .. } => {
                    assert_eq!(shard.io.stream_write(conn, STREAM, &data), Ok(data.len()));
                }
                Seen::ReadClosed { conn } => {
                    let _ = shard.io.close_graceful(conn, Duration::from_secs(5));
                }
                _ => {}
            }
        }
    };
    shard.until("the load to end", |shard| {
        serve(shard);
        reloads.is_finished() && clients.iter().all(std::thread::JoinHandle::is_finished)
    });
    reloads.join().unwrap();
    let last = clients.into_iter().map(|client| client.join().unwrap()).max();
    assert_eq!(last, Some(4), "the last certificate was seen");
    shard.finish();
}

#[test]
fn a_handshake_that_is_under_way_keeps_the_old_certificate() {
    let world = World::new();
    for version in VERSIONS {
        let mut shard = Shard::new();
        let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
        let handle = shard.io.enable_cert_hot_reload(endpoint).unwrap();
        // Its ClientHello is read, and it does not answer the server's flight yet.
        let mut early = ClientPeer::dial(&world.ca, version, addr);
        while early.tls.wants_write() {
            early.tls.write_tls(&mut early.sock).unwrap();
        }
        shard.until("the flight", |s| s.io.io_stats().bytes_sent > 500);
        let fresh = world.ca.issue(&["localhost"]);
        handle.reload_from_bytes(&fresh.cert_pem, &fresh.key_pem).unwrap();
        let mut late = ClientPeer::dial(&world.ca, version, addr);
        let late = std::thread::spawn(move || shown(&mut late));
        let early = std::thread::spawn(move || shown(&mut early));
        shard.wait_connected(Some(endpoint));
        shard.wait_connected(Some(endpoint));
        assert!(shard.join(early) == world.server.cert_der, "the old one");
        assert!(shard.join(late) == fresh.cert_der, "the new one");
        shard.finish();
    }
}

#[test]
fn only_tls_listeners_have_certificates() {
    let world = World::new();
    let mut shard = Shard::new();
    let (plain, _) = shard.listen();
    let udp = shard.io.udp_bind(super::common::localhost()).unwrap();
    let (endpoint, _) = listen(&mut shard, world.server.server().build().unwrap());
    for other in [plain, udp] {
        let refused = shard.io.enable_cert_hot_reload(other).unwrap_err();
        assert!(matches!(refused, IoError::InvalidArgument { .. }), "{refused:?}");
    }
    shard.io.endpoint_close(endpoint).unwrap();
    shard.step(Duration::ZERO);
    shard.step(Duration::ZERO);
    let refused = shard.io.enable_cert_hot_reload(endpoint).unwrap_err();
    assert!(matches!(refused, IoError::StaleEndpoint { .. }), "{refused:?}");
    shard.io.endpoint_close(plain).unwrap();
    shard.io.endpoint_close(udp).unwrap();
    shard.finish();
}
