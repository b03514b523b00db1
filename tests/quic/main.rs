//! QUIC through the public surface: each case on the real ring and in the simulator.

mod buffers;
mod connect;
mod copies;
mod datagrams;
mod ends;
mod forwarding;
mod handles;
mod kit;
mod limits;
mod pausing;
mod pulling;
mod race;
mod rebind;
mod streams;
