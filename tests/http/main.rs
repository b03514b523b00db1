//! HTTP/1.1 servers, over real sockets.

mod bodies;
mod corpus;
mod ending;
#[path = "../http_corpus/mod.rs"]
mod http_corpus;
mod kinds;
mod kit;
mod nginx;
mod order;
mod peers;
#[cfg(feature = "tls")]
mod sealed;
mod tunnels;
mod workers;
