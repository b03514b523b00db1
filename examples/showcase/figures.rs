//! The figures of a shard, as the JSON that its page shows.

use std::fmt::{self, Write};

use zero_io::{HttpCounters, Io, PressureState};

/// In the order of `PoolStats::pools`.
const POOLS: [&str; 7] = [
    "slots",
    "stream buffers",
    "events",
    "send queue entries",
    "completions",
    "jumbo buffers",
    "connections",
];

/// So many milliseconds after the start, with so many connections and after so many messages.
pub(super) fn write(
    text: &mut String,
    io: &Io,
    http: &HttpCounters,
    (ms, connections, messages): (u128, u64, u64),
) -> fmt::Result {
    let (stats, pools) = (io.io_stats(), io.pool_stats());
    let pressure = io.pool_pressure().map_or(PressureState::Healthy, |info| info.state);
    write!(
        text,
        "{{\"ms\":{ms},\"connections\":{connections},\"requests\":{},\"messages\":{messages},\
         \"received\":{},\"sent\":{},\"enters\":{},\"pressure\":\"{pressure:?}\",\
         \"latency\":{:?},\"pools\":[",
        http.requests, stats.bytes_received, stats.bytes_sent, stats.enters, http.latency_us_log2,
    )?;
    for (i, (name, pool)) in POOLS.iter().zip(&pools.pools).enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let (used, capacity) = (pool.used, pool.capacity);
        write!(text, "{comma}{{\"name\":\"{name}\",\"used\":{used},\"capacity\":{capacity}}}")?;
    }
    text.write_str("]}")
}
