//! What the targets of QUIC share: who the server is, and how nodes are.

use std::sync::OnceLock;

use zero_io::{Config, Roots, TlsClientConfig, TlsServerConfig, Toggle};

use crate::tls_record::{NAME, identity};

/// Where the server listens.
pub(crate) const PORT: u16 = 443;

/// The two sides' configurations, made once.
pub(crate) fn tls() -> (TlsServerConfig, TlsClientConfig) {
    static BOTH: OnceLock<(TlsServerConfig, TlsClientConfig)> = OnceLock::new();
    let make = || {
        let (certificate, key) = identity();
        let server = TlsServerConfig::from_der([certificate.to_vec()], key.secret_der());
        let client = TlsClientConfig::with_roots(Roots::from_der([certificate.to_vec()]));
        let client = client.server_name(NAME).key_exchange(["x25519"]);
        (server.build().expect("a server's"), client.build().expect("a client's"))
    };
    BOTH.get_or_init(make).clone()
}

/// Small, and the same for everybody.
pub(crate) fn config() -> Config {
    Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.pool_slot_count = 64;
        c.handle_reserve_count = 0;
        c.stream_buffer_count = 8;
        c.stream_buffer_size = 4_096;
        c.gro_buffer_count = 0;
        c.jumbo_count = 2;
        c.jumbo_size = 65_536;
        c.max_connections = 8;
        c.quic_recv_buffers = 8;
        c.quic_send_cells = 8;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    })
}
