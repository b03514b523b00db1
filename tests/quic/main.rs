//! QUIC through the public surface: each case on the real ring and in the simulator.

mod connect;
mod datagrams;
mod ends;
mod kit;
mod limits;
mod paths;
mod qlog;
mod race;
mod rebind;
mod streams;
