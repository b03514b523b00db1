//! QUIC through the public surface: each case on the real ring and in the simulator.

mod connect;
mod datagrams;
mod early;
mod ends;
mod kit;
mod limits;
mod paths;
mod qlog;
mod race;
mod rebind;
mod restart;
mod resume;
mod streams;
mod tls;
mod tokens;
