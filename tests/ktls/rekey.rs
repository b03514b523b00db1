//! TLS 1.3 changes keys: kernels from 6.14 on follow, and before that it ends by name.

use zero_io::{KtlsSide, TlsVersion, Toggle, code};

use super::common::{Shard, assert_same, pattern};
use super::kit::{echo, part};
use super::scene::{Scene, layers, rekeys, wait_done, wait_kernel_rx, write_guard};

const LEN: usize = 50_000;
const ROUNDS: usize = 5;

/// The peer's next key, and its wish for ours.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_follows_a_key_update_or_ends_by_name() {
    let follows = rekeys(&Shard::new());
    let scene = Scene::new(TlsVersion::Tls13, Toggle::On);
    let data = pattern(1, LEN);
    let wanted = data.clone();
    let (mut shard, conn, thread) = scene.play(move |mut peer| {
        peer.write(b"x");
        assert_eq!(peer.read_exact(1), b"x");
        for _ in 0..if follows { ROUNDS } else { 0 } {
            peer.tls.refresh_traffic_keys().unwrap();
            peer.write(&wanted);
            assert_same(&peer.read_exact(LEN), &wanted);
        }
        if follows {
            peer.close_notify();
            return peer.read_to_end().1.map(|kind| kind.to_string());
        }
        peer.tls.refresh_traffic_keys().unwrap();
        peer.write(&wanted[..10]);
        loop {
            match peer.tls.complete_io(&mut peer.sock) {
                Ok((0, 0)) => panic!("no alert"),
                Ok(_) => {}
                Err(error) => return Some(error.to_string()),
            }
        }
    });
    wait_kernel_rx(&mut shard, conn);
    if follows {
        let got = echo(&mut shard, conn, 1 + ROUNDS * LEN);
        assert_same(&got[1 + (ROUNDS - 1) * LEN..], &data);
        let told = layers(&mut shard, conn);
        assert_eq!((told.tx, told.rx), (KtlsSide::Kernel, KtlsSide::Kernel));
        assert_eq!(part(&mut shard, conn, thread), None);
    } else {
        echo(&mut shard, conn, 1);
        assert_eq!(shard.wait_end(conn), (code::TLS_NO_REKEY, false));
        assert_eq!(shard.bytes_of(conn), b"x");
        let told = shard.join(thread).unwrap();
        assert!(told.contains("InternalError"), "{told}");
    }
    shard.finish();
}

/// Only sending is the kernel's: we read the peer's update, and the kernel gets our next key.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_sends_under_the_key_that_the_peer_asked_for() {
    let follows = rekeys(&Shard::new());
    let scene = Scene::new(TlsVersion::Tls13, Toggle::Auto);
    let data = pattern(2, 200_000);
    let wanted = data.clone();
    let (mut shard, conn, thread) = scene.play(move |mut peer| {
        for _ in 0..ROUNDS {
            assert_same(&peer.read_exact(wanted.len()), &wanted);
            peer.tls.refresh_traffic_keys().unwrap();
            peer.write(b"next");
        }
        peer.close_notify();
        assert_eq!(peer.read_to_end(), (Vec::new(), None));
    });
    for round in 0..ROUNDS as u64 {
        shard.seen.clear();
        write_guard(&mut shard, conn, &data, round);
        assert_eq!(wait_done(&mut shard, round), data.len());
        // Automatically, the kernel has it only where it can go on.
        assert_eq!(layers(&mut shard, conn).tx == KtlsSide::Kernel, follows);
        assert_eq!(shard.wait_bytes(conn, 4), b"next");
    }
    part(&mut shard, conn, thread);
    shard.finish();
}
