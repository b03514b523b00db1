//! HTTP/1.1 servers, over real sockets.

mod bodies;
mod ending;
mod kit;
mod order;
mod tunnels;
mod workers;
