//! The shape of `http_client` without the feature: there is none, so nothing of it is ever run.

use super::Step;

/// Nothing that exists.
#[derive(Debug)]
enum Never {}

#[derive(Debug)]
pub(crate) struct HttpClient(Never);

impl HttpClient {
    pub(crate) fn step(&mut self, _: &[u8]) -> Step {
        match self.0 {}
    }
}
