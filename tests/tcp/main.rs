//! TCP on the real kernel: connecting, writing, reading, options.

#[path = "../common/mod.rs"]
mod common;
mod connecting;
mod forwarding;
mod guards;
mod known;
#[path = "../common/linger.rs"]
mod linger;
mod listening;
mod reading;
mod writing;
