//! A stand-in for the book of a pool.

use std::collections::VecDeque;

use crate::config::HttpPoolConfig;
use crate::time::Time;

pub(super) enum Todo {
    Assign { request: u64, conn: u32 },
    Dial { host: u32 },
    Close { conn: u32 },
}

struct Entry {
    conn: u32,
    host: u32,
    is_open: bool,
    busy: usize,
    idle_since: Time,
}

pub(super) struct Book {
    per_host: usize,
    total: usize,
    idle: std::time::Duration,
    waiting: VecDeque<(u32, u64)>,
    conns: Vec<Entry>,
    dialing: usize,
}

impl Book {
    pub(super) fn new(config: &HttpPoolConfig) -> Self {
        Self {
            per_host: config.max_connections_per_host,
            total: config.max_connections,
            idle: std::time::Duration::from_millis(config.idle_timeout_ms),
            waiting: VecDeque::new(),
            conns: Vec::new(),
            dialing: 0,
        }
    }
    pub(super) fn push(&mut self, host: u32, request: u64) {
        self.waiting.push_back((host, request));
    }
    pub(super) fn push_front(&mut self, host: u32, request: u64) {
        self.waiting.push_front((host, request));
    }
    pub(super) fn withdraw(&mut self, request: u64) {
        self.waiting.retain(|(_, r)| *r != request);
    }
    pub(super) fn dialed(&mut self, host: u32, conn: u32) {
        self.conns.push(Entry { conn, host, is_open: false, busy: 0, idle_since: Time::ZERO });
    }
    fn find(&mut self, conn: u32) -> Option<&mut Entry> {
        self.conns.iter_mut().find(|e| e.conn == conn)
    }
    pub(super) fn opened(&mut self, conn: u32, now: Time) {
        if let Some(e) = self.find(conn) {
            e.is_open = true;
            e.idle_since = now;
        }
    }
    pub(super) fn released(&mut self, conn: u32, now: Time) {
        if let Some(e) = self.find(conn) {
            e.busy = e.busy.saturating_sub(1);
            e.idle_since = now;
        }
    }
    pub(super) fn gone(&mut self, conn: u32) {
        self.conns.retain(|e| e.conn != conn);
    }
    pub(super) fn knows(&mut self, conn: u32) -> bool {
        self.find(conn).is_some()
    }
    pub(super) fn any_idle(&self) -> Option<u32> {
        self.conns.iter().find(|e| e.is_open && e.busy == 0).map(|e| e.conn)
    }
    pub(super) fn oldest(&self, host: u32) -> Option<u64> {
        self.waiting.iter().find(|(h, _)| *h == host).map(|(_, r)| *r)
    }
    pub(super) fn next(&mut self, now: Time) -> Option<Todo> {
        if !self.idle.is_zero() {
            let idle = self.idle;
            if let Some(e) = self.conns.iter().find(|e| {
                e.is_open && e.busy == 0 && e.idle_since.saturating_add(idle) <= now
            }) {
                return Some(Todo::Close { conn: e.conn });
            }
        }
        for at in 0..self.waiting.len() {
            let (host, request) = self.waiting[at];
            if let Some(e) =
                self.conns.iter_mut().find(|e| e.host == host && e.is_open && e.busy == 0)
            {
                e.busy += 1;
                self.waiting.remove(at);
                return Some(Todo::Assign { request, conn: e.conn });
            }
            let of_host = self.conns.iter().filter(|e| e.host == host);
            let dialing = of_host.clone().filter(|e| !e.is_open).count();
            let waiting = self.waiting.iter().filter(|(h, _)| *h == host).count();
            if of_host.count() < self.per_host
                && self.conns.len() < self.total
                && dialing < waiting
            {
                return Some(Todo::Dial { host });
            }
        }
        None
    }
    pub(super) fn next_deadline(&self) -> Time {
        if self.idle.is_zero() {
            return Time::MAX;
        }
        let idle = self.conns.iter().filter(|e| e.is_open && e.busy == 0);
        idle.map(|e| e.idle_since.saturating_add(self.idle)).min().unwrap_or(Time::MAX)
    }
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let idle = self.conns.iter().filter(|e| e.is_open && e.busy == 0).count();
        (self.conns.len(), idle, self.waiting.len())
    }
}
