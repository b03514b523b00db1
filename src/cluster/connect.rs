//! Outgoing connections that any thread asks the cluster for: TCP and Unix.

use std::net::SocketAddr;

use super::ClusterHandle;
use crate::config::{TcpConnectConfig, UdsConnectConfig};
use crate::error::Result;

impl ClusterHandle {
    /// Has the shard with the fewest connections connect to a TCP address; which shard that is.
    /// There `Event::Connected` or `Event::Disconnected` follows, of a connection whose `user_data`
    /// is the token, or `Event::ConnectFailed` with the token.
    ///
    /// A shard that ends before it has begun with that asks another one, which tells it then; where
    /// there is none any more, `FleetStats::connects_lost` counts it.
    ///
    /// # Errors
    /// `ShardDown` when no shard runs, or all are about to end; `QueueFull`.
    pub fn tcp_connect(&self, addr: SocketAddr, token: u64) -> Result<u16> {
        self.tcp_connect_with(TcpConnectConfig::new(addr), token)
    }

    /// The same to a TCP address or host.
    ///
    /// # Errors
    /// As [`tcp_connect`](Self::tcp_connect); `InvalidConfig`.
    pub fn tcp_connect_with(&self, config: TcpConnectConfig, token: u64) -> Result<u16> {
        config.validate()?;
        self.ask(token, move |engine| engine.tcp_connect(config))
    }

    /// The same to a Unix socket.
    ///
    /// # Errors
    /// As [`tcp_connect`](Self::tcp_connect).
    pub fn uds_connect(&self, path: &str, token: u64) -> Result<u16> {
        self.uds_connect_with(UdsConnectConfig::new(path), token)
    }

    /// The same to a Unix socket.
    ///
    /// # Errors
    /// As [`tcp_connect`](Self::tcp_connect).
    pub fn uds_connect_with(&self, config: UdsConnectConfig, token: u64) -> Result<u16> {
        self.ask(token, move |engine| engine.uds_connect(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{IoCluster, ShardIo};
    use crate::config::ClusterConfig;
    use crate::engine::fleet::connect::Connect;
    use crate::engine::fleet::mail::Mail;
    use crate::error::IoError;
    use crate::event::Event;
    use std::net::TcpListener;
    use std::time::Duration;

    const TICK: Duration = Duration::from_millis(1);

    /// Shard 0 drains, and is then asked for a connection by somebody who did not know yet.
    fn asked_late(shards: u16) -> (IoCluster, Vec<ShardIo>, TcpListener) {
        let mut cluster = IoCluster::new(ClusterConfig::new(shards)).unwrap();
        let seeds = cluster.seeds().unwrap();
        let mut shards: Vec<_> = seeds.into_iter().map(|seed| seed.grow().unwrap()).collect();
        cluster.handle().drain_shard(0, crate::DrainOptions::default()).unwrap();
        cluster.supervise(Duration::ZERO).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let dial = move |engine: &mut crate::engine::Engine| {
            engine.tcp_connect(TcpConnectConfig::new(addr))
        };
        let sent = cluster.shared.send(0, Mail::Connect(Box::new(Connect::new(7, dial))));
        assert!(sent.is_ok());
        shards[0].poll(TICK).unwrap();
        assert!(matches!(shards[0].next_event(), Some(Event::Draining { .. })));
        (cluster, shards, listener)
    }

    #[test]
    fn a_shard_that_drains_asks_another_one() {
        let (_cluster, mut shards, _listener) = asked_late(2);
        assert_eq!(shards[0].next_event(), None);
        shards[1].poll(Duration::from_secs(5)).unwrap();
        shards[1].poll(Duration::from_secs(5)).unwrap();
        let Some(Event::Connected { conn, .. }) = shards[1].next_event() else { panic!("it is") };
        assert_eq!(shards[1].user_data(conn), Ok(7));
    }

    #[test]
    fn the_last_shard_that_drains_says_so() {
        let (_cluster, mut shards, _listener) = asked_late(1);
        let error = IoError::ShardDown { shard: 0 };
        assert_eq!(shards[0].next_event(), Some(Event::ConnectFailed { token: 7, error }));
    }
}
