//! What these tests share: suites, a connection with a scripted peer, and who does its records.

use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::{ClientConnection, SupportedCipherSuite};
use zero_io::{ConnId, KernelVersion, KtlsSide, KtlsState, TcpListenConfig, TlsVersion, Toggle};

use super::certs::World;
use super::common::{STREAM, Seen, Shard};
use super::kit::{ClientPeer, VERSIONS, Version, listen_with};

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
    let since = KernelVersion { major: 6, minor: 14 };
    shard.io.effective().kernel.is_some_and(|found| found >= since)
}

/// What a test wants of our side.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) version: TlsVersion,
    pub(crate) suite: Option<&'static str>,
    pub(crate) ktls: Toggle,
    pub(crate) send_buffer: Option<u32>,
}

impl Scene {
    pub(crate) fn new(version: TlsVersion, ktls: Toggle) -> Self {
        Self { world: World::new(), version, suite: None, ktls, send_buffer: None }
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
        let mut peer = ClientPeer::dial(&self.world.ca, theirs(self.version), addr);
        let thread = std::thread::spawn(move || {
            peer.shake();
            act(peer)
        });
        let conn = shard.wait_connected(Some(endpoint));
        (shard, conn, thread)
    }
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
