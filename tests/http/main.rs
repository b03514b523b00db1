//! HTTP/1.1 servers, over real sockets.

mod bodies;
mod corpus;
mod ending;
mod figures;
mod files;
#[cfg(feature = "tls")]
mod files_tls;
#[cfg(feature = "http-gzip")]
mod gzip;
#[path = "../http_corpus/mod.rs"]
mod http_corpus;
mod kinds;
mod kit;
mod limits;
#[path = "../common/linger.rs"]
mod linger;
mod nginx;
mod order;
mod peers;
#[cfg(feature = "tls")]
mod sealed;
mod tunnels;
mod turns;
mod uploads;
mod workers;
