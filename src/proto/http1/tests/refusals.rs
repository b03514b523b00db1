//! The corpus, for the parser alone: what a server would answer, however the bytes arrive.

use super::corpus::{Answer, rows};
use super::{LIMITS, parse_request};
use crate::proto::http1::{
    Body, ChunkStep, Chunked, Parsed, leading_empty_lines, may_be_complete, parse_thoroughly,
};

/// What a connection reads next.
enum Next {
    Head,
    Length(u64),
    Chunks(Chunked),
}

/// The reading half of a server, which holds what is not consumed yet.
struct Server {
    held: Vec<u8>,
    next: Next,
    requests: usize,
    refused: Option<u16>,
    /// Looks at heads, and what those looked at.
    looks: usize,
}

impl Server {
    fn new() -> Self {
        Self { held: Vec::new(), next: Next::Head, requests: 0, refused: None, looks: 0 }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let held_before = self.held.len();
        self.held.extend_from_slice(bytes);
        let is_new = held_before == 0 || self.held.len() >= LIMITS.header_size as usize;
        if matches!(self.next, Next::Head) && !is_new && !may_be_complete(bytes) {
            return;
        }
        while self.refused.is_none() && !self.held.is_empty() && self.step() {}
    }

    /// Consumes something; whether it did.
    fn step(&mut self) -> bool {
        let consumed = match &mut self.next {
            Next::Head => return self.head(),
            Next::Length(left) => {
                let len = (*left).min(self.held.len() as u64);
                *left -= len;
                if *left == 0 {
                    self.next = Next::Head;
                    self.requests += 1;
                }
                len as usize
            }
            Next::Chunks(chunked) => match chunked.step(&self.held) {
                ChunkStep::Data { skip, len } => {
                    assert!(len > 0);
                    skip + len
                }
                ChunkStep::Skip { len } => len,
                ChunkStep::End { len } => {
                    self.next = Next::Head;
                    self.requests += 1;
                    len
                }
                ChunkStep::Bad(refusal) => {
                    self.refused = Some(refusal.status);
                    return false;
                }
            },
        };
        self.held.drain(..consumed);
        true
    }

    fn head(&mut self) -> bool {
        let empty = leading_empty_lines(&self.held);
        let input = &self.held[empty..];
        if input.is_empty() {
            return false;
        }
        self.looks += 1;
        let parsed = parse_request(input, &LIMITS);
        assert_eq!(parse_thoroughly(input, &LIMITS), parsed, "the fast way and the other");
        match parsed {
            Parsed::Partial => return false,
            Parsed::Refused(refusal) => {
                self.refused = Some(refusal.status);
                return false;
            }
            Parsed::Head(head) => {
                self.held.drain(..empty + usize::from(head.head_len));
                self.next = match head.body {
                    Body::None => Next::Head,
                    Body::Length(left) => Next::Length(left),
                    Body::Chunked => Next::Chunks(Chunked::new()),
                };
                self.requests += usize::from(head.body == Body::None);
            }
        }
        true
    }

    /// `None` while it waits for more.
    fn answer(&self) -> Option<Answer> {
        match self.refused {
            Some(status) => Some(Answer::Refused(status)),
            None if self.held.is_empty() && matches!(self.next, Next::Head) => {
                Some(Answer::Requests(self.requests))
            }
            None => None,
        }
    }
}

#[test]
fn the_corpus_is_large_and_its_names_are_its_own() {
    let rows = rows();
    let refused = rows.iter().filter(|row| matches!(row.answer, Answer::Refused(_))).count();
    assert!(refused >= 120 && rows.len() - refused >= 50, "{refused} of {}", rows.len());
    let mut names: Vec<_> = rows.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows.len());
    assert!(rows.iter().all(|row| !row.section.is_empty()));
}

#[test]
fn every_row_at_once() {
    for row in rows() {
        let mut server = Server::new();
        server.receive(&row.bytes);
        assert_eq!(server.answer(), Some(row.answer), "{}", row.name);
    }
}

#[test]
fn every_row_cut_at_every_byte() {
    for row in rows() {
        // Long rows consist of the same again and again.
        let step = 1 + row.bytes.len() / 500;
        for cut in (1..row.bytes.len()).step_by(step) {
            let mut server = Server::new();
            let (first, second) = row.bytes.split_at(cut);
            server.receive(first);
            server.receive(second);
            assert_eq!(server.answer(), Some(row.answer), "{} cut at {cut}", row.name);
        }
    }
}

#[test]
fn every_row_byte_by_byte_and_at_a_bounded_price() {
    for row in rows() {
        let mut server = Server::new();
        row.bytes.chunks(1).for_each(|byte| server.receive(byte));
        assert_eq!(server.answer(), Some(row.answer), "{}", row.name);
        let lines = row.bytes.iter().filter(|&&byte| byte == b'\n').count();
        let limit = 2 + lines + 2 * row.bytes.len().saturating_sub(LIMITS.header_size as usize);
        assert!(server.looks <= limit, "{}: {} looks", row.name, server.looks);
    }
}

#[test]
fn what_follows_a_row_does_not_matter() {
    for row in rows().into_iter().filter(|row| matches!(row.answer, Answer::Refused(_))) {
        let mut server = Server::new();
        server.receive(&[&row.bytes[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        assert_eq!(server.answer(), Some(row.answer), "{}", row.name);
    }
}
