//! Unit tests that need no kernel, under Miri.
//!
//! Miri knows no io_uring: a filter names the tests; without one, those of the pool and of the
//! pieces that threads share.

use crate::Outcome;
use crate::args::Args;
use crate::{paths, toolchain};

const LIMIT_S: u64 = 3600;
/// Modules whose unit tests touch memory but no system call.
const MODULES: &[&str] = &["pool::", "sync::", "event::", "proto::"];

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let filter = args.positional();
    args.finish()?;
    toolchain::need_nightly("Miri")?;
    // Through cargo: called by its own name, it refuses to answer.
    if !toolchain::cargo_of("nightly", &["miri", "--version"]).succeeds() {
        return Err("Miri is missing: rustup +nightly component add miri rust-src".to_string());
    }
    let words = ["miri", "test", "--package", "zero-io", "--lib", "--features", "_sim", "--"];
    let job = toolchain::cargo_of("nightly", &words).target_dir(&paths::lane_target("miri")?);
    let job = match filter {
        Some(filter) => job.arg(filter),
        None => job.args(MODULES.iter().copied()),
    };
    let ran = job.env("MIRIFLAGS", "-Zmiri-strict-provenance").limit_s(LIMIT_S).run()?.good()?;
    if ran.tally.passed == 0 { Err("no test ran".to_string()) } else { Ok(()) }
}
