//! The last things that happened, for a failing run.
//!
//! Role: a bounded record, formatted only when it is asked for. Not role: any decision.

use std::collections::VecDeque;
use std::fmt;

use super::file::FileId;
use crate::ring::op::{Completion, Op, Token};

/// Entries that are kept.
const TRACE_COUNT_MAX: usize = 50_000;

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Submit(Op, Token),
    Complete(Completion),
    /// A cold call and its result: a descriptor, a count, or a negative errno.
    Call(&'static str, i64),
    /// Something on the network, at a file, with a length.
    Net(&'static str, FileId, usize),
}

/// A ring of what happened.
#[derive(Default)]
pub(super) struct Trace {
    entries: VecDeque<(u64, usize, What)>,
}

impl Trace {
    pub(super) fn push(&mut self, now_ns: u64, node: usize, what: What) {
        if self.entries.len() == TRACE_COUNT_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back((now_ns, node, what));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (now_ns, node, what) in &self.entries {
            write!(f, "{:>14.3} us  node {node}  ", *now_ns as f64 / 1_000.0)?;
            match what {
                What::Submit(op, token) => writeln!(f, "> {token:?} {op:?}")?,
                What::Complete(c) => {
                    writeln!(f, "< {:?} result {} flags {:#x}", c.token, c.result, c.flags)?;
                }
                What::Call(name, result) => writeln!(f, "= {name} -> {result}")?,
                What::Net(name, file, len) => writeln!(f, "~ {name} {file:?} {len} B")?,
            }
        }
        Ok(())
    }
}
