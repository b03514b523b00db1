//! What zero-io serves, as far as its features are on: `cargo run --release --example showcase`, on
//! one thread; with `--shards N` on a cluster of so many. Ends by itself after `--seconds N`, or
//! when nobody reads what it says any more; as a cluster in order by SIGTERM.

mod allocations;
mod answers;
mod cluster;
#[cfg(feature = "quic")]
#[path = "../quic/echo.rs"]
mod echo;
#[cfg(feature = "http")]
mod figures;
mod host;
#[cfg(feature = "http")]
mod http;
#[cfg(not(feature = "http"))]
#[path = "http_off.rs"]
mod http;
mod listen;
mod others;
#[cfg(feature = "http")]
mod place;
#[cfg(feature = "quic")]
mod quic;
#[cfg(not(feature = "quic"))]
#[path = "quic_off.rs"]
mod quic;
mod server;
mod status;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls_off.rs"]
mod tls;

use std::error::Error;
use std::io;
use std::path::Path;

use zero_io::{ClusterConfig, Config, Io, IoCluster};

use host::Host;
use server::{STATUS_EVERY, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("zero-io-{}.sock", std::process::id()));
    let ended = serve(&path);
    // It is not there when something failed before it was made.
    let _ = std::fs::remove_file(path);
    ended.or_else(|error| if is_unread(&*error) { Ok(()) } else { Err(error) })
}

fn serve(path: &Path) -> Result<(), Box<dyn Error>> {
    let option = |name: &str| std::env::args().skip_while(|arg| arg != name).nth(1);
    let statuses = option("--seconds").map_or(Ok(u64::MAX), |n| n.parse::<u64>().map(|n| n * 2))?;
    let mut host = match option("--shards") {
        Some(shards) => Host::Cluster(Box::new(IoCluster::new(
            ClusterConfig::new(shards.parse()?).with(|c| c.drain_deadline = STATUS_EVERY * 2),
        )?)),
        None => Host::Alone(Box::new(Io::new(Config::default())?)),
    };
    let web = listen::listen(&mut host, path)?;
    match host {
        Host::Alone(mut io) => {
            let mut server = Server::new(web, 0);
            io.timer_set(STATUS_EVERY, 0)?;
            while server.statuses < statuses {
                server.tick(&mut io)?;
            }
            Ok(())
        }
        Host::Cluster(cluster) => cluster::serve(*cluster, web, statuses),
    }
}

/// Whoever read the output has gone, as `head` does.
fn is_unread(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
