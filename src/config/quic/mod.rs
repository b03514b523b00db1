//! QUIC: what an endpoint and its connections are made with.
//!
//! Role: plain data with defaults, each field with its range, and `validate()`. Not role: the state
//! machine's own objects, which `proto::quic` makes of these.
//!
//! *Invariant*: nothing here names the state machine behind.

mod cids;
mod connect;
mod keys;
mod listen;
mod qlog;
mod transport;
mod used;

pub use cids::{ConnectionIds, QuicCids, ScidGenerator};
pub use connect::QuicConnectConfig;
pub(crate) use connect::check_ticket;
pub use keys::QuicKeys;
pub use listen::{QuicListenConfig, RetryPolicy};
pub(crate) use qlog::NoLog;
pub use qlog::{Qlog, QlogStart, QlogWriter};
pub use transport::{
    AckFrequency, Congestion, DatagramsFull, MtuDiscovery, QuicDatagrams, QuicReceive,
    QuicTransport,
};
pub(crate) use used::UsedTokens;

use std::time::Duration;

use super::check;
use crate::error::Result;

/// Checks a time against its range, in milliseconds.
fn check_ms(
    field: &'static str,
    value: Duration,
    low_ms: u64,
    high_ms: u64,
    range: &'static str,
) -> Result<()> {
    let fits = value >= Duration::from_millis(low_ms) && value <= Duration::from_millis(high_ms);
    check(field, usize::try_from(value.as_millis()).unwrap_or(usize::MAX), fits, range)
}
