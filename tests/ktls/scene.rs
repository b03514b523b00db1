//! What these tests share: suites, a connection with a scripted peer, and who does its records.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::{ClientConnection, SupportedCipherSuite};
use zero_io::{ConnId, KernelVersion, KtlsSide, KtlsState, TcpListenConfig, TlsVersion, Toggle};

use super::certs::{Version, World};
use super::common::{STREAM, Seen, Shard, dial, patient};
use super::kit::{ClientPeer, VERSIONS, client_conn, listen_with};

/// Every cipher with both versions, as our configuration names them.
pub(crate) const SUITES: [(&str, TlsVersion); 6] = [
    ("TLS_AES_128_GCM_SHA256", TlsVersion::Tls13),
    ("TLS_AES_256_GCM_SHA384", TlsVersion::Tls13),
    ("TLS_CHACHA20_POLY1305_SHA256", TlsVersion::Tls13),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", TlsVersion::Tls12),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", TlsVersion::Tls12),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", TlsVersion::Tls12),
];

pub(crate) const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

pub(crate) fn theirs(version: TlsVersion) -> Version {
    VERSIONS[usize::from(version == TlsVersion::Tls13)]
}

/// Whether this kernel changes keys.
pub(crate) fn rekeys(shard: &Shard) -> bool {
    is_since(shard, 14)
}

/// Whether this kernel is not too old to be asked.
pub(crate) fn is_asked(shard: &Shard) -> bool {
    is_since(shard, 7)
}

fn is_since(shard: &Shard, minor: u16) -> bool {
    let since = KernelVersion { major: 6, minor };
    shard.io.effective().kernel.is_some_and(|found| found >= since)
}

/// What a test wants of our side.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) version: TlsVersion,
    pub(crate) suite: Option<&'static str>,
    pub(crate) ktls: Toggle,
    pub(crate) send_buffer: Option<u32>,
    /// The longest segment that the peer takes.
    pub(crate) mss: Option<i32>,
}

impl Scene {
    pub(crate) fn new(version: TlsVersion, ktls: Toggle) -> Self {
        Self { world: World::new(), version, suite: None, ktls, send_buffer: None, mss: None }
    }

    pub(crate) fn server(&self) -> zero_io::TlsServerConfig {
        let builder = self.world.server.server().versions(self.version, self.version);
        let builder = builder.ktls(self.ktls);
        match self.suite {
            Some(suite) => builder.cipher_suites([suite]),
            None => builder,
        }
        .build()
        .unwrap()
    }

    /// A connection of ours, as the server, whose peer shakes hands and then does as `act` says.
    pub(crate) fn play<T: Send + 'static>(
        &self,
        act: impl FnOnce(ClientPeer) -> T + Send + 'static,
    ) -> (Shard, ConnId, JoinHandle<T>) {
        let mut shard = Shard::new();
        let change = |config: &mut TcpListenConfig| config.send_buffer = self.send_buffer;
        let (endpoint, addr) = listen_with(&mut shard, self.server(), change);
        let tls = client_conn(&self.world.ca, theirs(self.version));
        let mut peer = ClientPeer { tls, sock: dial_with(addr, self.mss) };
        let thread = std::thread::spawn(move || {
            peer.shake();
            act(peer)
        });
        let conn = shard.wait_connected(Some(endpoint));
        (shard, conn, thread)
    }
}

/// A blocking client that takes short segments, and few at a time.
pub(crate) fn dial_with(addr: SocketAddr, mss: Option<i32>) -> TcpStream {
    let (Some(mss), SocketAddr::V4(v4)) = (mss, addr) else { return dial(addr) };
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0);
    // SAFETY: the descriptor was just made and has no other owner.
    let sock = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let name = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: v4.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let fd = sock.as_raw_fd();
    let set = |level, option, value: i32| {
        // SAFETY: pointer and length are those of a local that outlives the call.
        unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), 4) }
    };
    let options =
        [set(libc::SOL_TCP, libc::TCP_MAXSEG, mss), set(libc::SOL_SOCKET, libc::SO_RCVBUF, 2304)];
    // SAFETY: as above.
    let answer = unsafe { libc::connect(fd, (&raw const name).cast(), size_of_val(&name) as u32) };
    assert_eq!((options, answer), ([0, 0], 0));
    patient(sock)
}

pub(crate) fn layers(shard: &mut Shard, conn: ConnId) -> KtlsState {
    shard.io.conn_tls_info(conn).expect("a TLS connection").kernel
}

#[track_caller]
pub(crate) fn wait_kernel_rx(shard: &mut Shard, conn: ConnId) {
    shard.until("the kernel to open", |shard| layers(shard, conn).rx == KtlsSide::Kernel);
}

/// Writes memory of ours, and waits until it is ours again.
#[track_caller]
pub(crate) fn write_guard(shard: &mut Shard, conn: ConnId, data: &[u8], token: u64) {
    let memory: Arc<[u8]> = Arc::from(data);
    shard.io.stream_write_guard(conn, STREAM, memory, token).expect("a guard");
}

#[track_caller]
pub(crate) fn wait_done(shard: &mut Shard, wanted: u64) -> usize {
    shard.wait("SendDone", |seen| match seen {
        Seen::SendDone { token, bytes, .. } if *token == wanted => Some(*bytes),
        _ => None,
    })
}

pub(crate) fn suite_of(tls: &ClientConnection) -> Option<SupportedCipherSuite> {
    tls.negotiated_cipher_suite()
}
