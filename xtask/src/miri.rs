//! Unit tests that need no kernel, under Miri.
//!
//! Miri knows neither io_uring nor the C of aws-lc: a filter names the tests; without one, those of
//! the pool, of records, of the machines, and of the pieces that threads share, built without
//! cryptography; and then the pool of QUIC.

use crate::args::Args;
use crate::board::{Report, Step};
use crate::runner::settle;
use crate::tally::Tally;
use crate::{Outcome, paths, toolchain};

const LIMIT_S: u64 = 3600;
/// Features, and modules whose unit tests with them touch memory and call neither C nor the system,
/// but for a futex, which Miri has.
const RUNS: &[(&str, &[&str])] = &[
    ("_sim,tcp,http-client", &["pool::", "sync::", "event::", "proto::", "sys::park::"]),
    ("_sim,quic", &["pool::quic::"]),
];

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let filter = args.positional();
    args.finish()?;
    check(filter).map(drop).map_err(|failure| failure.why)
}

/// All of them, for a release.
pub(crate) fn step() -> Step {
    check(None)
}

fn check(filter: Option<String>) -> Step {
    toolchain::need_nightly("Miri")?;
    // Through cargo: called by its own name, it refuses to answer.
    if !toolchain::cargo_of("nightly", &["miri", "--version"]).succeeds() {
        let how = "rustup +nightly component add miri rust-src";
        return Err(format!("MIRI IS MISSING, nothing ran under it: {how}").into());
    }
    let mut tally = Tally::default();
    for (features, modules) in RUNS {
        let words = ["miri", "test", "--package", "zero-io", "--lib", "--no-default-features"];
        let job = toolchain::cargo_of("nightly", &words).target_dir(&paths::lane_target("miri")?);
        let job = job.args(["--features", features, "--"]);
        let job = match &filter {
            Some(filter) => job.arg(filter),
            None => job.args(modules.iter().copied()),
        };
        let ran = job.env("MIRIFLAGS", "-Zmiri-strict-provenance").limit_s(LIMIT_S).run()?;
        tally.add(settle(ran.tally, ran.ok, &ran.end)?.tally);
    }
    if tally.passed == 0 {
        return Err("no test ran".to_string().into());
    }
    Ok(Report { tally, note: "Miri; no cryptography, no kernel".to_string() })
}
