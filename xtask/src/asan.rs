//! The engine's tests under AddressSanitizer, which only a nightly compiler offers.

use crate::Outcome;
use crate::args::Args;
use crate::board::{Report, Step};
use crate::runner::{FEATURES, settle};
use crate::sim::AMONG_TESTS_SEEDS;
use crate::{paths, peers, toolchain};

/// Building everything anew and running it several times slower.
const LIMIT_S: u64 = 3600;

/// Tests that ask how much memory is in use, which with the sanitizer is its own as well.
const NOT_HERE: &[&str] = &["an_idle_connection_is_small", "a_thousand_idle_connections"];

pub(crate) fn run(args: Args) -> Outcome<()> {
    args.finish()?;
    step().map(drop).map_err(|failure| failure.why)
}

pub(crate) fn step() -> Step {
    toolchain::need_nightly("AddressSanitizer")?;
    peers::step()?;
    let peers = paths::target()?;
    let host = toolchain::host()?;
    let target_dir = paths::lane_target("asan")?;
    let cargo = |words: &[&str]| {
        // A target is named so that build scripts and macros stay free of the sanitizer.
        let common = ["--package", "zero-io", "--features", FEATURES, "--target", &host];
        toolchain::cargo_of("nightly", words)
            .args(common)
            .target_dir(&target_dir)
            .env("RUSTFLAGS", "-Zsanitizer=address -Cforce-frame-pointers=yes")
            .env("ASAN_OPTIONS", "detect_stack_use_after_return=1:strict_init_order=1")
            .env("ZERO_IO_SIM_SEEDS", AMONG_TESTS_SEEDS)
            .env("ZERO_IO_TEST_PEERS", peers.display())
            .limit_s(LIMIT_S)
    };
    // The tests start the examples, which `--tests` does not build.
    cargo(&["build", "--examples"]).run()?.good()?;
    let job = cargo(&["test", "--lib", "--tests", "--no-fail-fast"]);
    let ran = NOT_HERE.iter().fold(job.arg("--"), |job, test| job.args(["--skip", test])).run()?;
    if ran.ok && ran.tally.passed == 0 {
        return Err("no test ran".to_string().into());
    }
    let step = settle(ran.tally, ran.ok, &ran.end)?;
    Ok(Report { note: "AddressSanitizer".to_string(), ..step })
}
