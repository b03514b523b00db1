//! QUIC through the public surface: each case on the real ring and in the simulator.

mod buffers;
mod connect;
mod copies;
mod datagrams;
mod early;
mod ends;
mod forwarding;
mod handles;
mod kit;
mod knobs;
mod limits;
mod paths;
mod pausing;
mod pulling;
mod qlog;
mod race;
mod rebind;
mod restart;
mod resume;
mod streams;
mod tls;
mod tokens;
