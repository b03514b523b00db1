//! The interleavings of the pieces that threads share: the unit tests named `loom_`.
//!
//! Compiled with `--cfg loom`, which turns the atomics of `sync` into loom's. The full form tries
//! every order of the small models, and of the large ones those within the bound of preemptions
//! that each states (`sync::model::bounded`). The quick form bounds all of them.

use crate::args::Args;
use crate::board::Step;
use crate::job::Job;
use crate::runner::settle;
use crate::{Outcome, paths};

/// Preemptions of the quick form: two find most of what is to be found.
const QUICK_PREEMPTIONS: u32 = 2;
const QUICK_LIMIT_S: u64 = 600;
/// A full run takes some five minutes on two cores: a model that takes an hour has grown too large.
const FULL_LIMIT_S: u64 = 3600;

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let quick = args.flag("--quick");
    args.finish()?;
    step(quick).map(drop).map_err(|failure| failure.why)
}

pub(crate) fn step(quick: bool) -> Step {
    let words = ["test", "--release", "--package", "zero-io", "--lib", "loom_"];
    let mut job = Job::cargo(&words)
        .target_dir(&paths::lane_target("loom")?)
        .env("RUSTFLAGS", "--cfg loom")
        // Models are explored, not measured: a fast build is worth more than a fast binary.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", 16)
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", true)
        .limit_s(if quick { QUICK_LIMIT_S } else { FULL_LIMIT_S });
    if quick {
        job = job.env("LOOM_MAX_PREEMPTIONS", QUICK_PREEMPTIONS);
    }
    let ran = job.run()?;
    if ran.ok && ran.tally.passed == 0 {
        return Err("no loom model ran".to_string().into());
    }
    settle(ran.tally, ran.ok, &ran.end)
}
