//! Somebody between the two changes bytes: alerts, both ways.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zero_io::{KtlsSide, Toggle, code};

use super::common::{Shard, dial, plain_listener};
use super::kit::{ClientPeer, alert, listen};
use super::scene::{BOTH, Scene, layers, theirs, wait_done, wait_kernel_rx, write_guard};

/// Passes on what comes; the next piece after `tampers` was set has its last byte changed.
fn pass(mut from: TcpStream, mut to: TcpStream, tampers: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut piece = [0; 64 << 10];
        while let Ok(len @ 1..) = from.read(&mut piece) {
            if tampers.swap(false, Ordering::SeqCst) {
                piece[len - 1] ^= 1;
            }
            if to.write_all(&piece[..len]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// Switches for what goes to us and for what comes from us, and where to dial.
fn between(addr: SocketAddr) -> ([Arc<AtomicBool>; 2], SocketAddr) {
    let switches = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (listener, at) = plain_listener();
    let [to_us, from_us] = switches.clone();
    std::thread::spawn(move || {
        let (peer, _) = listener.accept().expect("the peer");
        let ours = dial(addr);
        pass(peer.try_clone().expect("a clone"), ours.try_clone().expect("a clone"), to_us);
        pass(ours, peer, from_us);
    });
    (switches, at)
}

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_refuses_a_changed_record_and_the_peer_is_told() {
    for version in BOTH {
        for sends_first in [true, false] {
            let scene = Scene::new(version, Toggle::On);
            let mut shard = Shard::new();
            let (endpoint, addr) = listen(&mut shard, scene.server());
            let ([to_us, _], at) = between(addr);
            let mut peer = ClientPeer::dial(&scene.world.ca, theirs(version), at);
            let thread = std::thread::spawn(move || {
                peer.shake();
                peer.write(b"good");
                assert_eq!(peer.read_exact(2), b"ok");
                to_us.store(true, Ordering::SeqCst);
                peer.write(b"changed on the way");
                // The alert comes instead of data.
                let error = loop {
                    match peer.tls.complete_io(&mut peer.sock) {
                        Ok((0, 0)) => panic!("no alert"),
                        Ok(_) => {}
                        Err(error) => break error,
                    }
                };
                error.to_string()
            });
            let conn = shard.wait_connected(Some(endpoint));
            wait_kernel_rx(&mut shard, conn);
            shard.wait_bytes(conn, 4);
            if sends_first {
                // By now the kernel seals as well: the alert goes the same way.
                shard.write_all(conn, b"o");
                shard.run_for(Duration::from_millis(20));
                shard.write_all(conn, b"k");
                assert_eq!(layers(&mut shard, conn).tx, KtlsSide::Kernel);
            } else {
                shard.write_all(conn, b"ok");
            }
            let sent = code::TLS_ALERT_SENT + alert::BAD_RECORD_MAC;
            assert_eq!(shard.wait_end(conn), (sent, false));
            assert_eq!(shard.bytes_of(conn), b"good");
            let told = shard.join(thread);
            assert!(told.contains("BadRecordMac"), "{told}");
            shard.finish();
        }
    }
}

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_passes_on_the_peers_alert() {
    for version in BOTH {
        for ktls in [Toggle::On, Toggle::Auto] {
            let scene = Scene::new(version, ktls);
            let mut shard = Shard::new();
            let (endpoint, addr) = listen(&mut shard, scene.server());
            let ([_, from_us], at) = between(addr);
            let mut peer = ClientPeer::dial(&scene.world.ca, theirs(version), at);
            let thread = std::thread::spawn(move || {
                peer.shake();
                peer.write(b"hello");
                assert_eq!(peer.read_exact(100_000).len(), 100_000);
                from_us.store(true, Ordering::SeqCst);
                peer.write(b"again");
                let error = loop {
                    match peer.tls.complete_io(&mut peer.sock) {
                        Ok((0, 0)) => panic!("nothing was wrong"),
                        Ok(_) => {}
                        Err(error) => break error,
                    }
                };
                // Its own alert.
                while peer.tls.wants_write() {
                    peer.tls.write_tls(&mut peer.sock).expect("write");
                }
                let _ = peer.sock.shutdown(Shutdown::Write);
                error.to_string()
            });
            let conn = shard.wait_connected(Some(endpoint));
            shard.wait_bytes(conn, 5);
            write_guard(&mut shard, conn, &[1; 100_000], 1);
            assert_eq!(wait_done(&mut shard, 1), 100_000);
            shard.wait_bytes(conn, 5);
            shard.until("both messages", |shard| shard.bytes_of(conn).len() == 10);
            shard.write_all(conn, b"changed on the way");
            let received = code::TLS_ALERT_RECEIVED + alert::BAD_RECORD_MAC;
            assert_eq!(shard.wait_end(conn), (received, false));
            shard.join(thread);
            shard.finish();
        }
    }
}

/// Something that is no record at all, and one that is too long.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_refuses_headers_that_cannot_be() {
    let long = [23, 3, 3, 0xFF, 0xFF];
    let other = [23, 9, 9, 0, 40];
    let short = [23, 3, 3, 0, 3, 1, 2, 3];
    let cases: [(&[u8], u64); 3] = [
        (&long, alert::RECORD_OVERFLOW),
        (&other, alert::DECODE_ERROR),
        (&short, alert::BAD_RECORD_MAC),
    ];
    for version in BOTH {
        for (bytes, expected) in cases {
            let scene = Scene::new(version, Toggle::On);
            // The kernel looks at a header together with the nonce that may follow it.
            let bytes = [bytes, &[0; 60]].concat();
            let (mut shard, conn, thread) = scene.play(move |mut peer| {
                peer.write(b"good");
                assert_eq!(peer.read_exact(2), b"ok");
                peer.sock.write_all(&bytes).expect("write");
                peer.tls.complete_io(&mut peer.sock).err().map(|error| error.to_string())
            });
            wait_kernel_rx(&mut shard, conn);
            shard.wait_bytes(conn, 4);
            shard.write_all(conn, b"ok");
            let sent = code::TLS_ALERT_SENT + expected;
            assert_eq!(shard.wait_end(conn), (sent, false), "{version:?} {expected}");
            shard.join(thread);
            shard.finish();
        }
    }
}
