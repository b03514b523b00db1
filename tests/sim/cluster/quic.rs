//! QUIC in the worlds of clusters: clients that seem to move, and shards that pass on what is
//! another's.

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{
    ClusterConfig, ConnId, ExpectedProtocols, Io, IoCluster, IoError, PeerAddr, QuicConnectConfig,
    QuicKeys, QuicListenConfig, QuicTransport, RoutingStrategy, ScidCover, StreamDir, StreamId,
    TlsClientConfig, TlsServerConfig,
};

use crate::chance::Chance;
use crate::secure::Secure;

/// Whether there is QUIC at all.
pub(super) const ON: bool = true;

const PATIENCE: Duration = Duration::from_secs(60);

/// What both sides need.
pub(super) struct Quic {
    tls: (TlsServerConfig, TlsClientConfig),
    addr: SocketAddr,
}

/// What both sides allow: nothing is cut short by a limit of theirs.
fn transport(chance: &mut Chance) -> QuicTransport {
    QuicTransport::default().with(|t| {
        t.idle_timeout = Some(PATIENCE);
        // Who moves unawares has to be heard again before others find it.
        t.keep_alive = Some(Duration::from_secs(chance.pick(&[2, 10])));
        t.stream_window = chance.pick(&[4_096, 1_250_000]);
        t.mtu_discovery = None;
    })
}

impl Quic {
    /// What a cluster is made with that listens for QUIC.
    pub(super) fn configure(config: &mut ClusterConfig, chance: &mut Chance) {
        config.expected_protocols |= ExpectedProtocols::QUIC;
        config.keys = Some(QuicKeys::from_bytes(&[chance.next() as u8; QuicKeys::LEN]));
        let routers = [RoutingStrategy::DcidDispatch, RoutingStrategy::Auto];
        config.routing = chance.pick(&routers);
        config.scid_cover = chance.pick(&[ScidCover::Clear, ScidCover::Light, ScidCover::Strong]);
        config.server_id = chance.pick(&[0, 9]);
        config.forward_cells = chance.pick(&[16, 256]);
    }

    pub(super) fn new(chance: &mut Chance) -> Self {
        Self { tls: Secure::quic(chance), addr: SocketAddr::from(([127, 0, 0, 1], 7_001)) }
    }

    pub(super) fn listen(&self, cluster: &mut IoCluster, chance: &mut Chance) -> bool {
        let config = QuicListenConfig::new(self.addr, self.tls.0.clone()).with(|l| {
            l.transport = transport(chance);
            l.gro = chance.once_in(2);
            l.migration = true;
            l.handshake_timeout = PATIENCE;
        });
        cluster.quic_listen_with(config).is_ok()
    }

    pub(super) fn connect(&self, io: &mut Io, chance: &mut Chance) -> Option<ConnId> {
        let config = QuicConnectConfig::new(self.addr, self.tls.1.clone()).with(|c| {
            c.transport = transport(chance);
            c.connect_timeout = PATIENCE;
        });
        io.quic_connect_with(config).ok()
    }
}

/// The stream that a client speaks on; none: the connection is over.
pub(super) fn open(io: &mut Io, conn: ConnId) -> Option<StreamId> {
    match io.stream_open(conn, StreamDir::Bidi) {
        Ok(stream) => Some(stream),
        Err(IoError::StreamLimit { .. }) => panic!("the first stream is one too many"),
        Err(_) => None,
    }
}

/// The socket that a client's connections have.
pub(super) fn local(io: &mut Io, conn: ConnId) -> Option<u16> {
    match io.conn_local_addr(conn) {
        Ok(PeerAddr::Inet(addr)) => Some(addr.port()),
        _ => None,
    }
}
