//! The simulator: many seeds, or one seed again.
//!
//! It is the test target `sim` of the root package, told by ZERO_IO_SIM_SEEDS how many seeds to
//! run, or by ZERO_IO_SIM_SEED which one. Optimised, and with assertions on: they are what it is
//! for.

use crate::args::Args;
use crate::board::Step;
use crate::job::Job;
use crate::runner::settle;
use crate::{Outcome, paths};

/// Seeds of the gate.
pub(crate) const GATE_SEEDS: u64 = 1_000;
/// Seeds that the test target runs among the other tests, unoptimised; `step` follows.
pub(crate) const AMONG_TESTS_SEEDS: u64 = 20;
/// Seeds of a release.
pub(crate) const RELEASE_SEEDS: u64 = 10_000;
/// Building in release mode, and a second for ten seeds at the very least.
const BUILD_LIMIT_S: u64 = 900;
const SEEDS_PER_SECOND_MIN: u64 = 5;

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let seeds: Option<u64> = args.value("--seeds")?;
    let seed: Option<String> = args.value("--seed")?;
    args.finish()?;
    let step = match seed {
        Some(seed) => finish(job(0)?.env("ZERO_IO_SIM_SEED", seed).arg("--nocapture")),
        None => step(seeds.unwrap_or(GATE_SEEDS)),
    };
    step.map(drop).map_err(|failure| failure.why)
}

/// Runs `seeds` seeds.
pub(crate) fn step(seeds: u64) -> Step {
    finish(job(seeds)?.env("ZERO_IO_SIM_SEEDS", seeds))
}

fn job(seeds: u64) -> Outcome<Job> {
    let words = [
        "test",
        "--release",
        "--package",
        "zero-io",
        "--features",
        "_sim,tls,http-client,quic",
        "--test",
        "sim",
    ];
    let job = Job::cargo(&words)
        .arg("--")
        .target_dir(&paths::lane_target("sim")?)
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", true)
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", true)
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", 16);
    Ok(job.limit_s(BUILD_LIMIT_S + seeds / SEEDS_PER_SECOND_MIN))
}

fn finish(job: Job) -> Step {
    let ran = job.run()?;
    if ran.ok && ran.tally.passed == 0 {
        return Err("no simulation ran".to_string().into());
    }
    settle(ran.tally, ran.ok, &ran.end)
}
