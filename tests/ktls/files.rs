//! Answers of HTTP out of files, sent by the kernel from the page cache into its own records.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zero_io::{KtlsReason, KtlsSide, TlsVersion, Toggle, code};

use super::common::{Shard, assert_same, dial, plain_listener};
use super::fallback::kernel_has_tls;
use super::kit::{ClientPeer, alert};
use super::scene::{BOTH, SUITES, Scene, is_asked, rekeys};
use super::site::{STATIC, Site, TEXT, Temporary, answer, expect, get, head};

/// From so many bytes on a file is an occasion.
const LONG: usize = 64 << 10;

/// Who sends with `Auto` behind a file of that length.
fn automatic(version: TlsVersion, len: usize) -> KtlsSide {
    match () {
        () if version == TlsVersion::Tls13 && !rekeys(&Shard::new()) => {
            KtlsSide::UserSpace(KtlsReason::Rekey)
        }
        () if len < LONG => KtlsSide::UserSpace(KtlsReason::NotWanted),
        () => KtlsSide::Kernel,
    }
}

/// Whether this kernel does what `Auto` asks of it.
fn takes_over(version: TlsVersion) -> bool {
    automatic(version, LONG) == KtlsSide::Kernel
}

fn goodbye(peer: &mut ClientPeer) {
    peer.close_notify();
    assert_eq!(peer.read_to_end(), (Vec::new(), None));
}

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_sends_files_of_every_length() {
    for len in [0, 1, 16_384, 16_385, LONG - 1, LONG, 262_144, 262_145, 3_000_000] {
        let (file, content) = Temporary::new(len);
        for version in BOTH {
            for ktls in [Toggle::Auto, Toggle::On, Toggle::Off] {
                let scene = Scene::new(version, ktls);
                let mut site = Site::new(&scene, &file);
                let wanted = content.clone();
                site.visit(&scene, move |peer| {
                    for _ in 0..2 {
                        peer.write(get("/", "").as_bytes());
                        expect(peer, 200, &wanted);
                        peer.write(b"HEAD / HTTP/1.1\r\nHost: t\r\n\r\n");
                        let told = head(peer);
                        let said = format!("Content-Length: {}\r\n", wanted.len());
                        assert!(told.contains(&said), "{told}");
                    }
                    goodbye(peer);
                });
                assert_eq!(site.end, Some((code::NONE, true)), "{len}");
                let tx = match ktls {
                    Toggle::Auto => automatic(version, len),
                    Toggle::On => KtlsSide::Kernel,
                    Toggle::Off => KtlsSide::UserSpace(KtlsReason::NotWanted),
                };
                assert_eq!(site.told.unwrap().tx, tx, "{len} {version:?} {ktls:?}");
                let read = site.finish().bytes_copied_tx;
                // What is not short is not read where the kernel seals; but the tickets may be on
                // their way when the first file is asked for, and who is not long does not wait.
                let (all, once) = (2 * len as u64, len as u64);
                let fits = match len {
                    _ if len <= 16_384 || tx != KtlsSide::Kernel => read == all,
                    _ if len < LONG => read == 0 || read == once,
                    _ => read == 0,
                };
                assert!(fits, "{read}: {len} {version:?} {ktls:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_sends_files_with_every_suite() {
    let (file, content) = Temporary::new(1 << 20);
    for (suite, version) in SUITES {
        let scene = Scene { suite: Some(suite), ..Scene::new(version, Toggle::Auto) };
        let mut site = Site::new(&scene, &file);
        let wanted = content.clone();
        site.visit(&scene, move |peer| {
            for _ in 0..2 {
                peer.write(get("/", "").as_bytes());
                expect(peer, 200, &wanted);
            }
            goodbye(peer);
        });
        assert_eq!(site.end, Some((code::NONE, true)), "{suite}");
        assert_eq!(site.told.unwrap().tx, automatic(version, 1 << 20), "{suite}");
        site.finish();
    }
}

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_sends_ranges_to_the_byte() {
    const LEN: usize = 300_000;
    let (file, content) = Temporary::new(LEN);
    // A short part first, which is no occasion.
    let rows = [
        ("bytes=0-65534", 0..LONG - 1),
        ("bytes=0-65535", 0..LONG),
        ("bytes=1-99999", 1..100_000),
        ("bytes=4095-4096", 4095..4097),
        ("bytes=12345-", 12_345..LEN),
        ("bytes=-1", LEN - 1..LEN),
        ("bytes=-299999", 1..LEN),
        ("bytes=100001-265537", 100_001..265_538),
    ];
    for version in BOTH {
        let scene = Scene::new(version, Toggle::Auto);
        let mut site = Site::new(&scene, &file);
        let wanted = content.clone();
        let asked = rows.clone();
        site.visit(&scene, move |peer| {
            for (range, bytes) in asked {
                peer.write(get("/", &format!("Range: {range}\r\n")).as_bytes());
                let told = expect(peer, 206, &wanted[bytes.clone()]);
                let said = format!("Content-Range: bytes {}-{}/{LEN}", bytes.start, bytes.end - 1);
                assert!(told.contains(&said), "{told}");
            }
            peer.write(get("/", "Range: bytes=300000-\r\n").as_bytes());
            expect(peer, 416, b"");
            goodbye(peer);
        });
        assert_eq!(site.end, Some((code::NONE, true)));
        assert_eq!(site.told.unwrap().tx, automatic(version, LONG));
        let read = match takes_over(version) {
            // The first part, and the two that fit into a buffer.
            true => LONG - 1 + 2 + 1,
            false => rows.iter().map(|(_, bytes)| bytes.len()).sum(),
        };
        assert_eq!(site.finish().bytes_copied_tx, read as u64, "{version:?}");
    }
}

/// The queue is not empty when a file's turn comes, and other answers wait behind it.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_keeps_the_order_of_files_and_other_answers() {
    const PATHS: [&str; 5] = ["/text", "/", "/text", "/static", "/"];
    const COUNT: usize = 30;
    let (file, content) = Temporary::new(700_000);
    for version in BOTH {
        for ktls in [Toggle::Auto, Toggle::On] {
            let scene = Scene::new(version, ktls);
            let mut site = Site::new(&scene, &file);
            let wanted = content.clone();
            site.visit(&scene, move |peer| {
                let all: String = (0..COUNT).map(|i| get(PATHS[i % PATHS.len()], "")).collect();
                peer.write(all.as_bytes());
                for i in 0..COUNT {
                    let body = match PATHS[i % PATHS.len()] {
                        "/text" => TEXT,
                        "/static" => STATIC,
                        _ => &wanted,
                    };
                    expect(peer, 200, body);
                }
                goodbye(peer);
            });
            assert_eq!(site.end, Some((code::NONE, true)));
            let takes_over = ktls == Toggle::On || takes_over(version);
            assert_eq!(site.told.unwrap().tx == KtlsSide::Kernel, takes_over);
            let texts = (TEXT.len() * COUNT * 2 / PATHS.len()) as u64;
            let stats = site.finish();
            assert!(!takes_over || stats.bytes_copied_tx == texts, "{}", stats.bytes_copied_tx);
        }
    }
}

/// `close_notify` by control message behind the last record, to readers that make TCP take records
/// in parts.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_says_goodbye_behind_a_file() {
    let (file, content) = Temporary::new(1 << 20);
    for (send_buffer, mss) in [(None, None), (Some(4 << 10), Some(536)), (Some(100 << 10), None)] {
        for version in BOTH {
            for (fields, shuts) in [("Connection: close\r\n", false), ("", true)] {
                let scene = Scene { send_buffer, mss, ..Scene::new(version, Toggle::On) };
                let mut site = Site::new(&scene, &file);
                let wanted = content.clone();
                site.visit(&scene, move |peer| {
                    peer.write(get("/", fields).as_bytes());
                    if shuts {
                        peer.close_notify();
                    }
                    std::thread::sleep(Duration::from_millis(200));
                    if !shuts {
                        // A socket that was closed would be reset by it, with all that is unread.
                        peer.write(b"not looked at");
                    }
                    let (got, end) = peer.read_to_end();
                    assert_eq!(end, None, "it ended by close_notify");
                    let body = got.len() - wanted.len();
                    assert_same(&got[body..], &wanted);
                    if !shuts {
                        peer.close_notify();
                    }
                });
                assert_eq!(site.end, Some((code::NONE, true)), "{send_buffer:?} {shuts}");
                assert_eq!(site.told.unwrap().tx, KtlsSide::Kernel);
                site.finish();
            }
        }
    }
}

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_stops_for_clients_that_go_in_the_middle() {
    let (file, content) = Temporary::new(8 << 20);
    for version in BOTH {
        for resets in [false, true] {
            let scene = Scene::new(version, Toggle::On);
            let mut site = Site::new(&scene, &file);
            for round in 0..3 {
                let wanted = content.clone();
                site.visit(&scene, move |peer| {
                    peer.write(get("/", "").as_bytes());
                    head(peer);
                    let len = if resets { 100_000 } else { 10 } * round;
                    assert_same(&peer.read_exact(len), &wanted[..len]);
                    if !resets {
                        peer.sock.shutdown(Shutdown::Both).unwrap();
                    }
                });
                let (code, clean) = site.end.unwrap();
                assert!(code != code::NONE && !clean, "{code:x}");
            }
            site.finish();
        }
    }
}

#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_cuts_the_answer_of_a_file_that_shrinks() {
    for version in BOTH {
        let (file, content) = Temporary::new(20 << 20);
        let scene = Scene::new(version, Toggle::On);
        let mut site = Site::new(&scene, &file);
        let file = site.visit(&scene, move |peer| {
            peer.write(get("/", "").as_bytes());
            head(peer);
            assert_same(&peer.read_exact(100_000), &content[..100_000]);
            file.cut_to(1 << 20);
            let (rest, end) = peer.read_to_end();
            assert!(rest.len() < 19 << 20, "{}", rest.len());
            assert!(end.is_some(), "no goodbye");
            file
        });
        assert_eq!(site.end, Some((code::HTTP_ANSWER_CUT, false)));
        site.finish();
        drop(file);
    }
}

/// TLS 1.3: the peer changes its key, and wants another of ours, while a file is being sent.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_changes_keys_in_the_middle_of_a_file() {
    const LEN: usize = 8 << 20;
    if !rekeys(&Shard::new()) {
        return;
    }
    let (file, content) = Temporary::new(LEN);
    for ktls in [Toggle::Auto, Toggle::On] {
        let scene = Scene::new(TlsVersion::Tls13, ktls);
        let mut site = Site::new(&scene, &file);
        let wanted = content.clone();
        site.visit(&scene, move |peer| {
            peer.write([get("/", ""), get("/", "")].concat().as_bytes());
            for _ in 0..2 {
                head(peer);
                for piece in wanted.chunks(LEN / 16) {
                    assert_same(&peer.read_exact(piece.len()), piece);
                    peer.tls.refresh_traffic_keys().unwrap();
                    peer.tls.write_tls(&mut peer.sock).unwrap();
                }
            }
            goodbye(peer);
        });
        assert_eq!(site.end, Some((code::NONE, true)));
        assert_eq!(site.told.unwrap().tx, KtlsSide::Kernel);
        site.finish();
    }
}

/// Something on the way to us is not what was sent: the peer is told behind the record that was
/// under way.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_ends_a_file_by_an_alert() {
    let (file, _) = Temporary::new(8 << 20);
    for version in BOTH {
        let scene = Scene::new(version, Toggle::On);
        let mut site = Site::new(&scene, &file);
        let told = site.visit(&scene, |peer| {
            peer.write(get("/", "").as_bytes());
            head(peer);
            peer.read_exact(100_000);
            peer.sock.write_all(&[&[23, 3, 3, 0, 40][..], &[9; 40]].concat()).unwrap();
            let mut stream = rustls::Stream::new(&mut peer.tls, &mut peer.sock);
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap_err().to_string()
        });
        assert!(told.contains("BadRecordMac"), "{told}");
        let sent = code::TLS_ALERT_SENT + alert::BAD_RECORD_MAC;
        assert_eq!(site.end, Some((sent, false)));
        site.finish();
    }
}

/// Lengths of the records that go from a server to those who dial what is given.
fn watched(addr: SocketAddr) -> (TcpStream, Arc<Mutex<Vec<usize>>>) {
    let (listener, at) = plain_listener();
    let client = dial(at);
    let (mut ours, _) = listener.accept().unwrap();
    let mut theirs = dial(addr);
    let (mut from, mut to) = (ours.try_clone().unwrap(), theirs.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let lens = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&lens);
    std::thread::spawn(move || {
        let mut record = Vec::new();
        loop {
            record.resize(5, 0);
            if theirs.read_exact(&mut record).is_err() {
                break;
            }
            let len = usize::from(u16::from_be_bytes([record[3], record[4]]));
            record.resize(5 + len, 0);
            if theirs.read_exact(&mut record[5..]).is_err() || ours.write_all(&record).is_err() {
                break;
            }
            told.lock().unwrap().push(len);
        }
        let _ = ours.shutdown(Shutdown::Write);
    });
    (client, lens)
}

/// The limits of keys are counted from above: a send's records are full, but for its last.
#[test]
#[ignore = "needs a kernel with TLS: cargo xtask qemu --ktls"]
fn kernel_fills_the_records_of_a_file() {
    const LEN: usize = 4 << 20;
    let (file, content) = Temporary::new(LEN);
    for version in BOTH {
        let scene = Scene::new(version, Toggle::On);
        let mut site = Site::new(&scene, &file);
        let (sock, lens) = watched(site.addr);
        let wanted = content.clone();
        site.visit_over(&scene, sock, move |peer| {
            peer.write(get("/", "").as_bytes());
            let (_, body) = answer(peer);
            assert_same(&body, &wanted);
            goodbye(peer);
        });
        assert_eq!(site.told.unwrap().tx, KtlsSide::Kernel);
        site.finish();
        let lens = lens.lock().unwrap();
        let full = lens.iter().filter(|len| **len > 16_384).count();
        let sends = LEN / (256 << 10);
        assert!(full >= LEN / 16_384 - sends, "{full} full records: {lens:?}");
        // The handshake and our goodbye have some as well.
        let short = lens.len() - full;
        assert!(short <= sends + 12, "{short} short records: {lens:?}");
    }
}

/// On any machine: it is tried at a long file, and where it is not possible why is told.
#[test]
fn auto_is_tried_at_a_long_file() {
    for len in [LONG - 1, LONG] {
        let (file, content) = Temporary::new(len);
        for version in BOTH {
            let scene = Scene::new(version, Toggle::Auto);
            let mut site = Site::new(&scene, &file);
            let wanted = content.clone();
            site.visit(&scene, move |peer| {
                peer.write([get("/", ""), get("/text", ""), get("/", "")].concat().as_bytes());
                expect(peer, 200, &wanted);
                expect(peer, 200, TEXT);
                expect(peer, 200, &wanted);
                goodbye(peer);
            });
            assert_eq!(site.end, Some((code::NONE, true)));
            let expected = match automatic(version, len) {
                _ if !is_asked(&Shard::new()) => KtlsSide::UserSpace(KtlsReason::OldKernel),
                KtlsSide::Kernel if !kernel_has_tls() => KtlsSide::UserSpace(KtlsReason::NoModule),
                told => told,
            };
            assert_eq!(site.told.unwrap().tx, expected, "{len} {version:?}");
            site.finish();
        }
    }
}
