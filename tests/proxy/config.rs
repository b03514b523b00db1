//! What cannot be meant is refused, before anything is bound.

use std::time::Duration;

use zero_io::{ClusterConfig, IoCluster, IoError, TcpListenConfig, UdsListenConfig};

use crate::common::{Shard, localhost};
use crate::kit::loopback;

#[track_caller]
fn is_named(error: &IoError) {
    let IoError::InvalidConfig { field, .. } = error else { panic!("{error}") };
    assert_eq!(*field, "ProxyProtocol::timeout (ms)");
}

#[test]
fn a_timeout_out_of_range_is_named() {
    let proxy = loopback().with(|p| p.timeout = Duration::ZERO);
    let tcp = TcpListenConfig::new(localhost()).with(|c| c.proxy = Some(proxy.clone()));
    let uds = UdsListenConfig::new("@zio-proxy-never").with(|c| c.proxy = Some(proxy));
    let mut shard = Shard::new();
    is_named(&shard.io.tcp_listen_with(tcp.clone()).unwrap_err());
    is_named(&shard.io.uds_listen_with(uds.clone()).unwrap_err());
    let mut cluster = IoCluster::new(ClusterConfig::new(1)).unwrap();
    is_named(&cluster.tcp_listen_with(tcp.clone()).unwrap_err());
    is_named(&cluster.uds_listen_with(uds).unwrap_err());
    #[cfg(feature = "http")]
    {
        let http = zero_io::HttpListenConfig::new(tcp);
        is_named(&shard.io.http_listen_with(http.clone()).unwrap_err());
        is_named(&cluster.http_listen_with(http).unwrap_err());
    }
    shard.finish();
}
