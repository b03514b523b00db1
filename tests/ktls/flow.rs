//! Data both ways: every suite, every way of writing, both roles, and the moment of the switch.

use std::sync::Arc;
use std::time::Duration;

use zero_io::{
    Frame, Framing, KtlsReason, KtlsSide, MessageKind, TlsListenConfig, TlsVersion, Toggle,
};

use super::certs::World;
use super::common::{STREAM, Seen, Shard, assert_same, pattern, plain_listener};
use super::kit::{ServerPeer, close_in_order, echo, listen, part, server_config};
use super::scene::{
    BOTH, SUITES, Scene, layers, rekeys, suite_of, theirs, wait_done, wait_kernel_rx, write_guard,
};

const LEN: usize = 300_000;
const GUARD_LEN: usize = 1 << 20;

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_does_both_directions_with_every_suite() {
    for (suite, version) in SUITES {
        let scene = Scene { suite: Some(suite), ..Scene::new(version, Toggle::On) };
        let data = pattern(1, LEN);
        let wanted = data.clone();
        let (mut shard, conn, thread) = scene.play(move |mut peer| {
            // A few records each way before and after the switch.
            for len in [1, 100, 5000] {
                peer.write(&wanted[..len]);
                assert_same(&peer.read_exact(len), &wanted[..len]);
            }
            peer.write(&wanted);
            assert_same(&peer.read_exact(LEN), &wanted);
            peer.close_notify();
            assert_eq!(peer.read_to_end(), (Vec::new(), None));
            suite_of(&peer.tls).expect("a suite")
        });
        wait_kernel_rx(&mut shard, conn);
        let got = echo(&mut shard, conn, 5101 + LEN);
        assert_same(&got[5101..], &data);
        let told = layers(&mut shard, conn);
        assert_eq!((told.tx, told.rx), (KtlsSide::Kernel, KtlsSide::Kernel), "{suite}");
        let agreed = format!("{:?}", part(&mut shard, conn, thread).suite());
        assert_eq!(agreed.replace("TLS13_", "TLS_"), suite);
        shard.finish();
    }
}

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_seals_from_the_first_large_guard_on() {
    for (suite, version) in SUITES {
        let scene = Scene { suite: Some(suite), ..Scene::new(version, Toggle::Auto) };
        let guard = pattern(2, GUARD_LEN);
        let wanted = guard.clone();
        let (mut shard, conn, thread) = scene.play(move |mut peer| {
            for round in 0..3 {
                for len in [10, 1000, 20_000] {
                    assert_same(&peer.read_exact(len), &wanted[..len]);
                    peer.write(&wanted[..len]);
                }
                assert_same(&peer.read_exact(GUARD_LEN), &wanted);
                peer.write(&[round]);
            }
            peer.close_notify();
            assert_eq!(peer.read_to_end(), (Vec::new(), None));
        });
        let stays = version == TlsVersion::Tls13 && !rekeys(&shard);
        let before = if stays { KtlsReason::Rekey } else { KtlsReason::NotWanted };
        assert_eq!(layers(&mut shard, conn).tx, KtlsSide::UserSpace(before));
        for round in 0..3 {
            for len in [10, 1000, 20_000] {
                shard.seen.clear();
                shard.write_all(conn, &guard[..len]);
                assert_same(&shard.wait_bytes(conn, len), &guard[..len]);
            }
            shard.seen.clear();
            write_guard(&mut shard, conn, &guard, round);
            assert_eq!(wait_done(&mut shard, round), GUARD_LEN);
            shard.wait_bytes(conn, 1);
            let expected = if stays { KtlsSide::UserSpace(before) } else { KtlsSide::Kernel };
            let told = layers(&mut shard, conn);
            assert_eq!((told.tx, told.rx), (expected, KtlsSide::UserSpace(KtlsReason::NotWanted)));
        }
        part(&mut shard, conn, thread);
        shard.finish();
    }
}

/// The queue is not empty when the guard is written: it waits behind sealed records, and what is
/// left of it goes to the kernel when they are gone.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_takes_over_in_the_middle_of_a_guard() {
    let scene = Scene::new(TlsVersion::Tls12, Toggle::Auto);
    let (first, guard) = (pattern(3, 100_000), pattern(4, 8 << 20));
    let wanted = [&first[..], &guard, b"the end"].concat();
    let (mut shard, conn, thread) = scene.play(move |mut peer| {
        assert_same(&peer.read_exact(wanted.len()), &wanted);
        peer.close_notify();
    });
    assert_eq!(shard.io.stream_write(conn, STREAM, &first), Ok(first.len()));
    write_guard(&mut shard, conn, &guard, 7);
    assert_eq!(layers(&mut shard, conn).tx, KtlsSide::UserSpace(KtlsReason::NotWanted));
    assert_eq!(wait_done(&mut shard, 7), guard.len());
    shard.write_all(conn, b"the end");
    assert_eq!(layers(&mut shard, conn).tx, KtlsSide::Kernel);
    part(&mut shard, conn, thread);
    shard.finish();
}

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_keeps_the_order_of_writes_of_all_kinds() {
    for version in BOTH {
        let scene = Scene::new(version, Toggle::On);
        let all = pattern(5, 400_000);
        let wanted = all.clone();
        let (mut shard, conn, thread) = scene.play(move |mut peer| {
            assert_same(&peer.read_exact(wanted.len()), &wanted);
            peer.close_notify();
        });
        let mut rest = &all[..];
        for i in 0.. {
            let (data, behind) = rest.split_at(rest.len().min(1 + (i * 977) % 9000));
            if data.is_empty() {
                break;
            }
            let refused = match i % 3 {
                0 => shard.io.stream_write(conn, STREAM, data).map(|n| assert_eq!(n, data.len())),
                1 => {
                    let mut buffer = shard.io.send_buffer(data.len()).unwrap();
                    buffer.copy_from_slice(data);
                    shard.io.stream_write_buffer(conn, STREAM, buffer)
                }
                _ => {
                    let memory: Arc<[u8]> = Arc::from(data);
                    shard.io.stream_write_guard(conn, STREAM, memory, i as u64)
                }
            };
            refused.expect("room");
            rest = behind;
            if i % 7 == 0 {
                shard.run_for(Duration::from_millis(5));
            }
        }
        shard.wait_read_closed(conn);
        assert_eq!(layers(&mut shard, conn).tx, KtlsSide::Kernel);
        close_in_order(&mut shard, conn);
        shard.join(thread);
        shard.finish();
    }
}

/// As the client: the server's tickets arrive as records that are no data.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_serves_clients_and_their_tickets() {
    for version in BOTH {
        let world = World::new();
        let client = world.ca.client().ktls(Toggle::On).server_name("localhost").build().unwrap();
        let config = Arc::new(server_config(&world.server, theirs(version)));
        let (listener, addr) = plain_listener();
        let data = pattern(6, LEN);
        for visit in 0..3 {
            let (config, wanted) = (Arc::clone(&config), data.clone());
            let listener = listener.try_clone().unwrap();
            let thread = std::thread::spawn(move || {
                let (sock, _) = listener.accept().unwrap();
                let mut peer = ServerPeer::serve(&config, sock);
                peer.shake();
                assert_same(&peer.read_exact(LEN), &wanted);
                peer.write(&wanted);
                assert_eq!(peer.read_to_end(), (Vec::new(), None));
                peer.close_notify();
            });
            let mut shard = Shard::new();
            let conn = shard.io.tls_connect(addr, client.clone()).unwrap();
            shard.wait_connected(None);
            wait_kernel_rx(&mut shard, conn);
            shard.write_all(conn, &data);
            assert_same(&shard.wait_bytes(conn, LEN), &data);
            let info = shard.io.conn_tls_info(conn).unwrap();
            assert_eq!((info.kernel.tx, info.kernel.rx), (KtlsSide::Kernel, KtlsSide::Kernel));
            assert_eq!(info.resumed, visit > 0, "{version:?}: the tickets were read");
            close_in_order(&mut shard, conn);
            shard.join(thread);
            shard.finish();
        }
    }
}

/// Two of ours, with framing, pauses and forwarding: the kernel on all four ends of the way.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_feeds_framing_pauses_and_forwarding() {
    const BLOCK: usize = 10_000;
    const BLOCKS: usize = 60;
    let blocks = Framing::new(MessageKind::User(1), |bytes| match bytes.len() {
        BLOCK.. => Frame::Ready(BLOCK),
        _ => Frame::Need(BLOCK),
    });
    for version in BOTH {
        let world = World::new();
        let mut shard = Shard::new();
        let tls = world.server.server().versions(version, version).ktls(Toggle::On);
        let socket = zero_io::TcpListenConfig::new(super::common::localhost());
        let socket = socket.with(|c| c.framing = Some(blocks));
        let config = TlsListenConfig::tcp(socket, tls.build().unwrap());
        let endpoint = shard.io.tls_listen_with(config).unwrap();
        let addr = shard.addr_of(endpoint);
        let client = world.ca.client().ktls(Toggle::On).build().unwrap();
        let conn = shard.io.tls_connect(addr, client).unwrap();
        let served = shard.wait_connected(Some(endpoint));
        shard.wait_connected(None);
        wait_kernel_rx(&mut shard, served);
        wait_kernel_rx(&mut shard, conn);
        let data = pattern(7, BLOCK * BLOCKS);
        let (mut written, mut back) = (0, Vec::new());
        for round in 0.. {
            written += shard.io.stream_write(conn, STREAM, &data[written..]).unwrap();
            shard.io.poll(Duration::from_millis(5)).unwrap();
            let (mut events, mut sender) = shard.io.split();
            while let Some(event) = events.next_event() {
                let zero_io::Event::StreamFrame { conn: from, data, .. } = event else { continue };
                match from == served {
                    true => {
                        assert_eq!(data.len(), BLOCK);
                        sender.forward(served, STREAM, data).unwrap();
                    }
                    false => back.extend_from_slice(data),
                }
            }
            match round % 10 {
                3 => shard.io.pause_recv(served).unwrap(),
                6 => shard.io.resume_recv(served).unwrap(),
                _ => {}
            }
            if back.len() == data.len() {
                break;
            }
            assert!(round < 5000, "{written} written, {} back", back.len());
        }
        assert_same(&back, &data);
        for conn in [conn, served] {
            let told = layers(&mut shard, conn);
            assert_eq!((told.tx, told.rx), (KtlsSide::Kernel, KtlsSide::Kernel));
        }
        shard.io.resume_recv(served).unwrap();
        shard.finish();
    }
}

/// STARTTLS: what was written before goes out before, in the clear.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_takes_over_after_starttls() {
    let scene = Scene::new(TlsVersion::Tls13, Toggle::On);
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen();
    let client = scene.world.ca.client().server_name("localhost").ktls(Toggle::On);
    let conn = shard.io.tcp_connect(addr).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    shard.wait_connected(None);
    shard.write_all(served, b"go ahead");
    shard.io.tls_accept_upgrade(served, scene.server()).unwrap();
    assert_eq!(shard.wait_bytes(conn, 8), b"go ahead");
    shard.seen.clear();
    shard.io.tls_upgrade(conn, client.build().unwrap()).unwrap();
    for conn in [conn, served] {
        super::kit::wait_secured(&mut shard, conn);
    }
    wait_kernel_rx(&mut shard, served);
    let data = pattern(8, LEN);
    shard.write_all(conn, &data);
    assert_same(&shard.wait_bytes(served, LEN), &data);
    assert_eq!(layers(&mut shard, conn).tx, KtlsSide::Kernel);
    shard.finish();
}

/// Nobody was told that the kernel has it: the usual echo, with the defaults on both ends.
#[test]
fn defaults_work_with_the_feature() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    shard.wait_connected(None);
    let data = pattern(9, GUARD_LEN);
    write_guard(&mut shard, conn, &data, 1);
    assert_same(&shard.wait_bytes(served, GUARD_LEN), &data);
    assert!(shard.count(|seen| matches!(seen, Seen::SendDone { .. })) > 0);
    shard.finish();
}
