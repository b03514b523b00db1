//! HTTP/1.1 clients, over real sockets.

mod bodies;
mod hostile;
mod kit;
mod plain;
mod pools;
mod script;
