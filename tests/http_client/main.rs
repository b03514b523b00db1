//! HTTP/1.1 clients, over real sockets.

mod bodies;
mod hostile;
mod kit;
#[path = "../common/linger.rs"]
mod linger;
#[path = "../http/nginx.rs"]
mod nginx;
mod peers;
mod plain;
mod pools;
mod proxied;
mod script;
#[cfg(feature = "tls")]
mod sealed;
#[path = "../common/silent.rs"]
mod silent;
mod soak;
mod tunnels;
