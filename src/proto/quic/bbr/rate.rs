//! [`Sampler`]: how fast packets are delivered, and how much was in flight and lost meanwhile
//! (draft-ietf-ccwg-bbr §4.5).
//!
//! The machine tells of what is sent by the moment, not by the packet: all packets of one moment
//! share a record. Where there are more moments in two round trips than records, those that are
//! close to each other share one too: then what is known is off by a thousandth of that time. Of
//! what is lost it tells how much, and when the last of it was sent.
//!
//! *Invariant*: there are at most [`RECORDS_MAX`] records, in the order of their moments.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Moments that are remembered at most, and so many are when they were too many.
const RECORDS_MAX: usize = 4096;
const RECORDS_THINNED: u32 = 2048;

/// What was known when something was sent: the per-packet state of §4.5.1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    sent: Instant,
    /// Bytes delivered before, and when the last of them were.
    delivered: u64,
    delivered_at: Instant,
    /// When the oldest packet of this flight was sent.
    first_sent: Instant,
    /// Bytes in flight, this included.
    pub(super) in_flight: u64,
    /// Bytes lost before.
    lost: u64,
    is_app_limited: bool,
}

/// What the packets that one acknowledgement delivered say: the rate sample of §4.5.2.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Bytes per second; `None` when the time was too short to tell.
    pub(super) rate: Option<f64>,
    /// Bytes delivered from when the newest packet was sent until now.
    pub(super) delivered: u64,
    /// Bytes delivered before that packet was sent.
    pub(super) prior_delivered: u64,
    /// Bytes in flight when it was sent.
    pub(super) tx_in_flight: u64,
    pub(super) is_app_limited: bool,
    /// Bytes that are delivered anew.
    pub(super) newly_acked: u64,
    pub(super) rtt: Duration,
}

#[derive(Debug, Clone)]
pub(super) struct Sampler {
    records: VecDeque<Record>,
    /// What is sent so soon after a record's moment shares it.
    gap: Duration,
    /// Bytes delivered and lost so far.
    pub(super) delivered: u64,
    pub(super) lost: u64,
    delivered_at: Option<Instant>,
    first_sent: Option<Instant>,
    pub(super) in_flight: u64,
    /// Until so many bytes are delivered, samples say what the application sent, not what the path
    /// takes.
    app_limited_until: u64,
    /// The newest packet of the acknowledgement that is being taken in.
    newest: Option<Record>,
    newly_acked: u64,
}

impl Sampler {
    pub(super) const fn new() -> Self {
        Self {
            records: VecDeque::new(),
            gap: Duration::ZERO,
            delivered: 0,
            lost: 0,
            delivered_at: None,
            first_sent: None,
            in_flight: 0,
            app_limited_until: 0,
            newest: None,
            newly_acked: 0,
        }
    }

    /// Something was sent. Whether nothing was in flight before.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) -> bool {
        let is_restart = self.in_flight == 0;
        if is_restart {
            (self.first_sent, self.delivered_at) = (Some(now), Some(now));
        }
        self.in_flight += bytes;
        let gap = if is_restart { Duration::ZERO } else { self.gap };
        if let Some(last) = self.records.back_mut()
            && now.saturating_duration_since(last.sent) <= gap
        {
            last.in_flight = self.in_flight;
            return is_restart;
        }
        if self.records.len() == RECORDS_MAX {
            self.thin();
        }
        self.records.push_back(Record {
            sent: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at.unwrap_or(now),
            first_sent: self.first_sent.unwrap_or(now),
            in_flight: self.in_flight,
            lost: self.lost,
            is_app_limited: self.app_limited_until > self.delivered,
        });
        is_restart
    }

    /// So many bytes of what was sent do not count as in flight.
    pub(super) fn take_back(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// One packet of an acknowledgement.
    pub(super) fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.newly_acked += bytes;
        self.delivered_at = Some(now);
        self.in_flight = self.in_flight.saturating_sub(bytes);
        let Some(record) = self.record(sent) else { return };
        if self.newest.is_none_or(|newest| newest.sent < record.sent) {
            self.newest = Some(record);
        }
    }

    /// That was all of it: `in_flight` bytes are left. `None` when nothing counted.
    pub(super) fn on_end(&mut self, now: Instant, in_flight: u64, is_idle: bool) -> Option<Sample> {
        self.in_flight = in_flight;
        if is_idle {
            self.app_limited_until = self.delivered + in_flight;
        }
        let newly_acked = std::mem::take(&mut self.newly_acked);
        let newest = self.newest.take()?;
        self.first_sent = Some(newest.sent);
        let rtt = now.saturating_duration_since(newest.sent);
        self.forget_before(newest.sent, rtt * 2);
        let delivered = self.delivered - newest.delivered;
        let sending = newest.sent.saturating_duration_since(newest.first_sent);
        let acking = now.saturating_duration_since(newest.delivered_at);
        // The slower of the two: neither a burst that was sent nor one of acknowledgements says
        // more than the path delivers.
        let span = sending.max(acking);
        let rate = (!span.is_zero()).then(|| delivered as f64 / span.as_secs_f64());
        Some(Sample {
            rate,
            delivered,
            prior_delivered: newest.delivered,
            tx_in_flight: newest.in_flight,
            is_app_limited: newest.is_app_limited || is_idle,
            newly_acked,
            rtt,
        })
    }

    /// Packets are lost, the last of which was sent then: what was known of it, and how much was
    /// lost since it was sent.
    pub(super) fn on_lost(&mut self, sent: Instant, bytes: u64) -> Option<(Record, u64)> {
        self.lost += bytes;
        self.in_flight = self.in_flight.saturating_sub(bytes);
        let record = self.record(sent)?;
        Some((record, self.lost - record.lost))
    }

    /// What was known at that moment, or at the one before.
    fn record(&self, sent: Instant) -> Option<Record> {
        let after = self.records.partition_point(|record| record.sent <= sent);
        let found = self.records.get(after.checked_sub(1)?)?;
        Some(Record { sent, ..*found })
    }

    /// Makes room, evenly over the time that is remembered.
    fn thin(&mut self) {
        let (Some(first), Some(last)) = (self.records.front(), self.records.back()) else { return };
        let span = last.sent.saturating_duration_since(first.sent);
        let gap = span / RECORDS_THINNED + Duration::from_nanos(1);
        self.gap = gap;
        let mut before: Option<Instant> = None;
        self.records.retain(|record| {
            let stays = before.is_none_or(|b| record.sent.saturating_duration_since(b) > gap);
            if stays {
                before = Some(record.sent);
            }
            stays
        });
    }

    /// What was sent so long before is acknowledged or given up.
    fn forget_before(&mut self, sent: Instant, span: Duration) {
        while self.records.len() > 1
            && self.records.front().is_some_and(|r| sent.saturating_duration_since(r.sent) > span)
        {
            self.records.pop_front();
        }
        if self.records.len() < RECORDS_MAX / 4 {
            self.gap = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_rate_is_what_arrives_between_two_acknowledgements() {
        let (mut sampler, start) = (Sampler::new(), Instant::now());
        // A packet of 1000 bytes a millisecond, acknowledged 10 ms later.
        let mut last = None;
        for i in 0..40 {
            let now = start + MS * i;
            sampler.on_sent(now, 1000);
            if let Some(sent) = i.checked_sub(10) {
                sampler.on_ack(now, start + MS * sent, 1000);
                let left = sampler.in_flight;
                last = sampler.on_end(now, left, false);
            }
        }
        let last = last.unwrap();
        assert!((last.rate.unwrap() - 1e6).abs() < 1e5 + 1.0, "{last:?}");
        assert_eq!((last.rtt, last.newly_acked), (MS * 10, 1000));
        assert!(!last.is_app_limited && sampler.records.len() <= 32);
    }

    #[test]
    fn an_idle_application_is_marked() {
        let (mut sampler, start) = (Sampler::new(), Instant::now());
        assert!(sampler.on_sent(start, 1000));
        sampler.on_ack(start + MS, start, 1000);
        assert!(sampler.on_end(start + MS, 0, true).unwrap().is_app_limited);
        assert!(sampler.on_sent(start + MS * 2, 500), "from nothing in flight");
        assert!(!sampler.on_sent(start + MS * 2, 500));
        assert_eq!(sampler.records.back().unwrap().in_flight, 1000);
        assert!(sampler.on_end(start + MS * 3, 1000, false).is_none());
    }

    #[test]
    fn more_moments_than_are_remembered_do_not_blind_it() {
        // 200 MB a second in packets of 1000 bytes, each of a moment of its own, over 50 ms: there
        // are 10,000 of them on the way.
        const STEP: Duration = Duration::from_micros(5);
        let (mut sampler, start) = (Sampler::new(), Instant::now());
        let mut samples = 0;
        for i in 0..40_000 {
            let now = start + STEP * i;
            sampler.on_sent(now, 1000);
            let Some(sent) = i.checked_sub(10_000) else { continue };
            let left = sampler.in_flight - 1000;
            sampler.on_ack(now, start + STEP * sent, 1000);
            let sample = sampler.on_end(now, left, false).expect("a sample");
            assert_eq!(sample.rtt, STEP * 10_000);
            if i > 21_000 {
                let rate = sample.rate.unwrap();
                assert!((rate - 2e8).abs() < 2e6, "{i}: {sample:?}");
                assert!((sample.tx_in_flight as f64 - 1e7).abs() < 1e5, "{sample:?}");
                samples += 1;
            }
            assert!(sampler.records.len() <= RECORDS_MAX);
        }
        assert!(samples > 15_000);
    }

    #[test]
    fn what_is_lost_is_counted_from_when_it_was_sent() {
        let (mut sampler, start) = (Sampler::new(), Instant::now());
        for i in 0..3 {
            sampler.on_sent(start + MS * i, 1000);
        }
        let (record, lost) = sampler.on_lost(start + MS, 2000).unwrap();
        assert_eq!((record.in_flight, lost), (2000, 2000));
        sampler.on_sent(start + MS * 5, 1000);
        assert_eq!(sampler.on_lost(start + MS * 5, 1000).unwrap().1, 1000);
        assert_eq!(sampler.in_flight, 1000);
        let mut flood = Sampler::new();
        for i in 0..10_000 {
            flood.on_sent(start + MS * i, 1);
        }
        assert!(flood.records.len() <= RECORDS_MAX, "{}", flood.records.len());
        let (record, lost) = flood.on_lost(start + MS * 5000, 1).expect("nothing is forgotten");
        assert!(record.in_flight.abs_diff(5000) < 20 && lost == 1, "{record:?}");
    }
}
