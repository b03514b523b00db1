//! HTTP/1.1 clients, over real sockets.

mod bodies;
mod hostile;
mod kit;
#[path = "../common/linger.rs"]
mod linger;
mod plain;
mod pools;
mod script;
