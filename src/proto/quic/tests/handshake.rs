//! How connections begin.

use std::time::Duration;

use super::pair::Pair;

use crate::error::IoError;
use crate::ids::StreamDir;
use crate::proto::quic::signal::Signal;

#[test]
fn both_sides_connect_and_agree_on_a_protocol() {
    let mut pair = Pair::new();
    let index = pair.connect();
    assert_eq!(
        pair.client.session(0).open(StreamDir::Bidi).unwrap_err(),
        IoError::NotConnected { conn: crate::ids::ConnId::new(0, 1) }
    );
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.client.take(index), [Signal::Connected]);
    assert_eq!(pair.server.take(0), [Signal::Connected]);
    for node in [&mut pair.client, &mut pair.server] {
        assert_eq!(node.session(0).alpn().as_deref(), Some(b"test".as_slice()));
        assert!(!node.session(0).is_handshaking());
        assert_eq!(node.endpoint.open_connections(), 1);
    }
    assert_eq!(pair.client.session(0).peer(), pair.server.addr);
    assert_eq!(pair.server.session(0).local_ip(), Some(pair.server.addr.ip()));
}
