//! The house rules, as a program.
//!
//! Role: load the tree once, let each rule look at it, print what was found as `path:line: text`.
//! Not-role: no rule changes a file. `--fix-ledger` rewrites the ledger's counts, and `--wrap`
//! breaks long comment lines (with nightly's rustfmt: the stable one cannot).
//! Each rule is a function from a loaded source to findings, tested on good and bad snippets.

mod banned;
mod cfgs;
mod documents;
mod hazards;
mod ledger;
mod lexer;
mod markdown;
mod programs;
mod sizes;
mod source;
mod strata;

use crate::args::Args;
use crate::board::{Failure, Report, Step};
use crate::tally::Tally;
use crate::{Outcome, paths, toolchain};
use std::path::Path;

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// Counted from 1; 0 when the whole file is meant.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_string(), line, what: what.into() }
    }
}

/// Entry of `cargo xtask tidy`.
pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let fix = args.flag("--fix-ledger");
    let wrap = args.flag("--wrap");
    args.finish()?;
    let root = paths::root()?;
    if fix {
        ledger::fix(&root, &source::load(&root)?)?;
    }
    if wrap {
        let options = ["fmt", "--all", "--", "--config", "wrap_comments=true,comment_width=100"];
        toolchain::need_nightly("wrapping comments")?;
        toolchain::cargo_of("nightly", &options).run()?.good()?;
    }
    let findings = check(&root)?;
    for Finding { path, line, what } in &findings {
        println!("{path}:{line}: {what}");
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("{} findings", findings.len())) }
}

/// The same as a step of the gate.
pub(crate) fn step() -> Step {
    let findings = check(&paths::root()?)?;
    for Finding { path, line, what } in &findings {
        println!("{path}:{line}: {what}");
    }
    match findings.len() {
        0 => Ok(Report::default()),
        n => Err(Failure { tally: Tally::default(), why: format!("{n} findings") }),
    }
}

fn check(root: &Path) -> Outcome<Vec<Finding>> {
    let sources = source::load(root)?;
    let mut findings = Vec::new();
    for source in &sources {
        findings.extend(strata::check(source));
        findings.extend(sizes::check(source));
        findings.extend(cfgs::check(source));
        findings.extend(banned::check(source));
    }
    findings.extend(ledger::check(root, &sources)?);
    findings.extend(hazards::check(root, &sources)?);
    findings.extend(programs::check(&sources));
    findings.extend(documents::check(root)?);
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// A source made of a snippet, for the rules' tests.
#[cfg(test)]
fn snippet(path: &str, text: &str) -> source::Source {
    source::Source::new(path, text)
}
