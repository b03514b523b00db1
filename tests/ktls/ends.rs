//! Goodbyes and truncations, and that nothing is lost at the end.

use std::io::ErrorKind;
use std::time::Duration;

use zero_io::{KtlsSide, TlsVersion, Toggle, code};

use super::common::{STREAM, Seen, assert_same, pattern, read_to_end};
use super::kit::close_in_order;
use super::scene::{BOTH, Scene, layers, wait_done, wait_kernel_rx, write_guard};

const LEN: usize = 1 << 20;

/// A send is done when the kernel's TLS has the data; a FIN right behind it would overtake what
/// TCP had no room for.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_loses_nothing_at_the_end_to_a_slow_reader() {
    // With short segments and a small buffer TCP takes a record in parts.
    let cases = [(None, None), (Some(4 << 10), Some(536)), (Some(100 << 10), Some(1000))];
    for (send_buffer, mss) in cases {
        for version in BOTH {
            let scene = Scene { send_buffer, mss, ..Scene::new(version, Toggle::On) };
            let data = pattern(1, LEN);
            let wanted = data.clone();
            let (mut shard, conn, thread) = scene.play(move |mut peer| {
                std::thread::sleep(Duration::from_millis(300));
                let (got, end) = peer.read_to_end();
                assert_same(&got, &wanted);
                assert_eq!(end, None, "it ended by close_notify");
                peer.close_notify();
                read_to_end(&peer.sock)
            });
            write_guard(&mut shard, conn, &data, 1);
            shard.io.close_graceful(conn, Duration::from_secs(15)).unwrap();
            assert_eq!(wait_done(&mut shard, 1), LEN);
            assert_eq!(layers(&mut shard, conn).tx, KtlsSide::Kernel);
            assert_eq!(shard.wait_end(conn), (code::NONE, true), "{send_buffer:?}");
            shard.join(thread);
            shard.finish();
        }
    }
}

/// The peer has said goodbye already: our end of data is the end of the connection.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_loses_nothing_to_a_peer_that_only_listens() {
    for version in BOTH {
        let (send_buffer, mss) = (Some(4 << 10), Some(536));
        let scene = Scene { send_buffer, mss, ..Scene::new(version, Toggle::On) };
        let data = pattern(2, LEN);
        let wanted = data.clone();
        let (mut shard, conn, thread) = scene.play(move |mut peer| {
            peer.write(b"all of it");
            peer.close_notify();
            std::thread::sleep(Duration::from_millis(200));
            let (got, end) = peer.read_to_end();
            assert_same(&got, &wanted);
            assert_eq!(end, None);
        });
        shard.wait_read_closed(conn);
        assert_eq!(shard.bytes_of(conn), b"all of it");
        write_guard(&mut shard, conn, &data, 1);
        shard.io.shutdown_write(conn, STREAM).unwrap();
        assert_eq!(shard.wait_end(conn), (code::NONE, true));
        shard.join(thread);
        shard.finish();
    }
}

/// A peer that takes nothing is given up at the deadline.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_does_not_keep_a_closing_connection() {
    let scene = Scene { send_buffer: Some(8 << 10), ..Scene::new(TlsVersion::Tls13, Toggle::On) };
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (mut shard, conn, thread) = scene.play(move |_peer| wait.recv());
    write_guard(&mut shard, conn, &pattern(3, LEN), 1);
    shard.run_for(Duration::from_millis(200));
    let before = shard.io.io_stats().completions;
    shard.io.close_graceful(conn, Duration::from_millis(500)).unwrap();
    assert_eq!(shard.wait_end(conn), (code::CLOSE_TIMEOUT, false));
    let spent = shard.io.io_stats().completions - before;
    assert!(spent < 50, "{spent} completions while nothing happens");
    go.send(()).unwrap();
    shard.join(thread).unwrap();
    shard.finish();
}

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_tells_goodbyes_from_truncations() {
    for version in BOTH {
        for says_goodbye in [true, false] {
            let scene = Scene::new(version, Toggle::On);
            let (mut shard, conn, thread) = scene.play(move |mut peer| {
                peer.write(b"some data");
                assert_eq!(peer.read_exact(2), b"ok");
                if says_goodbye {
                    peer.close_notify();
                }
                peer.sock.shutdown(std::net::Shutdown::Write).unwrap();
                peer.read_to_end()
            });
            wait_kernel_rx(&mut shard, conn);
            assert_eq!(shard.wait_bytes(conn, 9), b"some data");
            shard.write_all(conn, b"ok");
            if says_goodbye {
                shard.wait_read_closed(conn);
                close_in_order(&mut shard, conn);
                assert_eq!(shard.join(thread), (Vec::new(), None));
            } else {
                assert_eq!(shard.wait_end(conn), (code::TLS_TRUNCATED, false));
                assert_eq!(shard.count(|seen| matches!(seen, Seen::ReadClosed { .. })), 0);
                assert_eq!(shard.join(thread).1, Some(ErrorKind::UnexpectedEof));
            }
            shard.finish();
        }
    }
}

/// What comes behind close_notify is not looked at.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_hands_out_nothing_behind_close_notify() {
    let scene = Scene::new(TlsVersion::Tls13, Toggle::On);
    let (mut shard, conn, thread) = scene.play(move |mut peer| {
        use std::io::Write as _;
        peer.write(b"before");
        let mut late = Vec::new();
        peer.tls.writer().write_all(b"behind").unwrap();
        peer.tls.write_tls(&mut late).unwrap();
        peer.tls.send_close_notify();
        let mut goodbye = Vec::new();
        peer.tls.write_tls(&mut goodbye).unwrap();
        // Sealed in this order, and the goodbye again would be a bad record: so it is, behind it.
        peer.sock.write_all(&[&late[..], &goodbye, &goodbye].concat()).unwrap();
        peer.read_to_end()
    });
    shard.wait_read_closed(conn);
    assert_eq!(shard.bytes_of(conn), b"beforebehind");
    shard.run_for(Duration::from_millis(50));
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Disconnected { .. })), 0);
    close_in_order(&mut shard, conn);
    assert_eq!(shard.join(thread), (Vec::new(), None));
    shard.finish();
}
