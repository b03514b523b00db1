//! The shape of `http1` without the feature: there is none, so nothing of it is ever run.

use std::rc::Rc;

use super::Step;
use crate::time::Time;

/// Nothing that exists.
#[derive(Debug)]
enum Never {}

/// What the connections of a listener share.
#[derive(Debug)]
pub(crate) struct HttpServer(Never);

impl HttpServer {
    pub(crate) const fn close_after_next(&self) {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct Http1(Never);

/// How a body ends.
#[derive(Debug)]
pub(crate) enum Writing {}

/// An answer of another thread.
pub(crate) struct Reply(Never);

impl Reply {
    pub(crate) const fn copied_len(&self) -> usize {
        match self.0 {}
    }
}

impl Http1 {
    pub(crate) fn new(server: Rc<HttpServer>) -> Self {
        match server.0 {}
    }

    pub(crate) const fn has_file(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn step(&mut self, _: &[u8], _: Time) -> Step {
        match self.0 {}
    }
}
