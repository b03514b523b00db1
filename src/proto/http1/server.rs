//! [`HttpServer`]: what the connections of a listener share: limits, and figures.

use std::cell::Cell;
use std::time::Duration;

use super::{KnownHost, Limits, Waited};
use crate::config::{AccessLog, HttpCounters, HttpListenConfig};

/// What the connections of a listener share.
#[derive(Debug)]
pub(crate) struct HttpServer {
    pub(super) limits: Limits,
    pub(super) known_host: KnownHost,
    pub(super) body_inline: u64,
    pub(super) body_max: u64,
    pub(super) pipelined_max: u32,
    /// Bytes from which a body is compressed.
    pub(crate) compression_min: usize,
    pub(super) requests_max: Cell<u32>,
    pub(super) auto_continue: bool,
    pub(super) request_timeout: Option<Duration>,
    pub(super) receive_timeout: Option<Duration>,
    pub(super) keep_alive_timeout: Option<Duration>,
    access_log: Option<AccessLog>,
    pub(crate) counters: Counters,
}

/// [`HttpCounters`], as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: Counter,
    pub(crate) answers: [Counter; 5],
    pub(crate) refused: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    latency_us_log2: [Counter; HttpCounters::LATENCY_BUCKETS],
}

/// A figure that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }
}

impl Counters {
    /// An answer with that status code was written whole.
    #[inline]
    pub(crate) fn answered(&self, status: u16, waited: Waited) {
        if let Some(class) = self.answers.get(usize::from(status / 100).wrapping_sub(1)) {
            class.add(1);
        }
        let bucket = (u64::BITS - waited.micros().leading_zeros()) as usize;
        let buckets = &self.latency_us_log2;
        if let Some(bucket) = buckets.get(bucket).or_else(|| buckets.last()) {
            bucket.add(1);
        }
    }

    pub(crate) fn snapshot(&self) -> HttpCounters {
        HttpCounters {
            requests: self.requests.0.get(),
            answers: self.answers.each_ref().map(|counter| counter.0.get()),
            refused: self.refused.0.get(),
            timeouts: self.timeouts.0.get(),
            bytes_received: self.bytes_received.0.get(),
            bytes_sent: self.bytes_sent.0.get(),
            latency_us_log2: self.latency_us_log2.each_ref().map(|counter| counter.0.get()),
        }
    }
}

impl HttpServer {
    /// `compression_min` where the listener has no bound of its own.
    pub(crate) fn new(config: &HttpListenConfig, compression_min: usize) -> Self {
        let limit = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        Self {
            limits: Limits {
                header_count: config.max_header_count as u16,
                header_size: config.max_header_size as u32,
            },
            known_host: KnownHost::new(),
            body_inline: config.max_body_inline as u64,
            body_max: config.max_body_size,
            pipelined_max: config.max_pipelined as u32,
            compression_min: config.compression_threshold.unwrap_or(compression_min),
            requests_max: Cell::new(config.keep_alive_requests),
            auto_continue: config.auto_continue,
            request_timeout: limit(config.request_timeout_ms),
            receive_timeout: limit(config.receive_timeout_ms),
            keep_alive_timeout: limit(config.keep_alive_timeout_ms),
            access_log: config.access_log.clone(),
            counters: Counters::default(),
        }
    }

    /// The next request of each connection is its last one, from now on.
    pub(crate) fn close_after_next(&self) {
        self.requests_max.set(1);
    }

    pub(crate) const fn access_log(&self) -> Option<&AccessLog> {
        self.access_log.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    #[test]
    fn latencies_are_counted_by_powers_of_two() {
        // `[n]` is below 2^n microseconds, and not below half of that.
        let rows = [(0, 0), (1_000, 0), (3_000, 2), (1_000_000, 10), (1_100_000, 11)];
        let last = HttpCounters::LATENCY_BUCKETS - 1;
        let rows = rows.into_iter().chain([(60_000_000_000, 26), (100_000_000_000, last)]);
        for (nanos, bucket) in rows {
            let counters = Counters::default();
            let now = Time::ZERO.saturating_add(Duration::from_nanos(nanos));
            counters.answered(204, Waited::since(now, 0));
            let seen = counters.snapshot();
            let expected = |n: usize| u64::from(n == bucket);
            let are_right = seen.latency_us_log2.iter().enumerate();
            assert!(are_right.into_iter().all(|(n, c)| *c == expected(n)), "{nanos}: {seen:?}");
            assert_eq!(seen.answers, [0, 1, 0, 0, 0]);
        }
    }
}
