//! Where the kernel does not take over: why is told, and nothing else is different.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use zero_io::{
    ConnId, KtlsReason, KtlsSide, KtlsState, TlsConnectConfig, TlsListenConfig, TlsVersion, Toggle,
    UdsConnectConfig, UdsListenConfig,
};

use super::certs::World;
use super::common::{STREAM, Shard, assert_same, pattern};
use super::kit::{close_in_order, echo, listen};
use super::scene::{BOTH, Scene, is_asked, layers, rekeys, wait_done, write_guard};

const GUARD_LEN: usize = 200_000;

/// Whether this kernel has TLS: asked without the engine.
pub(crate) fn kernel_has_tls() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sock = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let name = b"tls";
    // SAFETY: pointer and length are those of a slice that outlives the call.
    let answer = unsafe {
        let name_len = name.len() as u32;
        libc::setsockopt(sock.as_raw_fd(), libc::SOL_TCP, 31, name.as_ptr().cast(), name_len)
    };
    answer == 0
}

fn ours(reason: KtlsReason) -> KtlsSide {
    KtlsSide::UserSpace(reason)
}

/// Echoes, and writes a large guard; what is told before and after.
fn visit(scene: &Scene) -> (KtlsState, KtlsState) {
    let data = pattern(1, GUARD_LEN);
    let wanted = data.clone();
    let (mut shard, conn, thread) = scene.play(move |mut peer| {
        peer.write(&wanted[..1000]);
        assert_same(&peer.read_exact(1000), &wanted[..1000]);
        assert_same(&peer.read_exact(GUARD_LEN), &wanted);
        assert_same(&peer.read_exact(10), &wanted[..10]);
        peer.close_notify();
        assert_eq!(peer.read_to_end(), (Vec::new(), None));
    });
    let before = layers(&mut shard, conn);
    assert_same(&echo(&mut shard, conn, 1000), &data[..1000]);
    write_guard(&mut shard, conn, &data, 1);
    assert_eq!(wait_done(&mut shard, 1), GUARD_LEN);
    assert_eq!(shard.io.stream_write(conn, STREAM, &data[..10]), Ok(10));
    shard.wait_read_closed(conn);
    let after = layers(&mut shard, conn);
    close_in_order(&mut shard, conn);
    shard.join(thread);
    shard.finish();
    (before, after)
}

#[test]
fn off_is_off() {
    for version in BOTH {
        let off = ours(KtlsReason::NotWanted);
        let (before, after) = visit(&Scene::new(version, Toggle::Off));
        assert_eq!((before.tx, before.rx), (off, off));
        assert_eq!(after, before);
    }
}

#[test]
fn on_is_tried_and_the_reason_told() {
    for version in BOTH {
        let (before, after) = visit(&Scene::new(version, Toggle::On));
        let (told_before, told) = match (is_asked(&Shard::new()), kernel_has_tls()) {
            (false, _) => (KtlsReason::OldKernel, ours(KtlsReason::OldKernel)),
            (true, true) => (KtlsReason::DataPending, KtlsSide::Kernel),
            (true, false) => (KtlsReason::DataPending, ours(KtlsReason::NoModule)),
        };
        assert_eq!(before.tx, ours(told_before));
        assert_eq!((after.tx, after.rx), (told, told));
    }
}

#[test]
fn auto_is_tried_at_a_large_guard() {
    for version in BOTH {
        let (before, after) = visit(&Scene::new(version, Toggle::Auto));
        assert_eq!((before.rx, after.rx), (ours(KtlsReason::NotWanted), before.rx));
        let shard = Shard::new();
        let stays = version == TlsVersion::Tls13 && !rekeys(&shard);
        let (told_before, told) = match (is_asked(&shard), stays) {
            (false, _) => (KtlsReason::OldKernel, ours(KtlsReason::OldKernel)),
            (true, true) => (KtlsReason::Rekey, ours(KtlsReason::Rekey)),
            (true, false) if kernel_has_tls() => (KtlsReason::NotWanted, KtlsSide::Kernel),
            (true, false) => (KtlsReason::NotWanted, ours(KtlsReason::NoModule)),
        };
        assert_eq!((before.tx, after.tx), (ours(told_before), told));
    }
}

fn pair_of(shard: &mut Shard, server: TlsListenConfig, world: &World) -> (ConnId, ConnId) {
    let endpoint = shard.io.tls_listen_with(server).unwrap();
    let tls = world.ca.client().server_name("localhost").ktls(Toggle::On).build().unwrap();
    let path = world.dir.path("sock");
    let config = TlsConnectConfig::uds(UdsConnectConfig::new(path), tls);
    let conn = shard.io.tls_connect_with(config).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    shard.wait_connected(None);
    (conn, served)
}

#[test]
fn a_unix_socket_is_not_tcp() {
    let world = World::new();
    let mut shard = Shard::new();
    let tls = world.server.server().ktls(Toggle::On).build().unwrap();
    let server = TlsListenConfig::uds(UdsListenConfig::new(world.dir.path("sock")), tls);
    let (conn, served) = pair_of(&mut shard, server, &world);
    for conn in [conn, served] {
        let told = layers(&mut shard, conn);
        let not_tcp = ours(KtlsReason::NotTcp);
        assert_eq!((told.tx, told.rx), (not_tcp, not_tcp));
    }
    shard.finish();
}

#[test]
fn the_kernel_cuts_records_by_itself() {
    let world = World::new();
    let mut shard = Shard::new();
    let tls = world.server.server().ktls(Toggle::On).max_record_size(4096).build().unwrap();
    let (endpoint, addr) = listen(&mut shard, tls);
    let _conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    assert_eq!(layers(&mut shard, served).tx, ours(KtlsReason::RecordSize));
    shard.finish();
}
