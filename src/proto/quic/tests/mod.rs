//! Two endpoints in one world: no socket, no clock, a network that loses what it is told to.

mod early;
mod ends;
mod figures;
mod handshake;
mod hostile;
mod knobs;
mod link;
mod lossy;
mod pair;
mod paths;
mod streams;
mod unreliable;
mod writes;

pub(super) use pair::{listen_config, server_tls};
