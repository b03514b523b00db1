//! One `Io` per core over io_uring, driven by the caller's own loop.

pub mod code;
mod config;
mod error;
mod ids;
mod rng;
mod time;

pub use config::*;
pub use error::{Errno, IoError, KernelVersion, PoolKind, Result, UringDenied};
pub use ids::{ConnId, EndpointId, Protocol, StreamId, TimerId, WatchId};
