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

pub(crate) use cids::{CID_LEN_MAX, ReadyScid};
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
