//! The gate: every check that a change must pass, in one run.

use crate::Outcome;
use crate::args::Args;
use crate::board::{Board, Report, Step};
use crate::job::Job;
use crate::runner::FEATURES;
use crate::{features, fuzz, licences, loom, peers, runner, setup, sim, tidy, toolchain};

pub(crate) const USAGE: &str = "[--only A,B] [--skip A,B] [--seeds N] ..";

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let only = args.value("--only")?;
    let skip = args.value("--skip")?;
    let seeds = args.value("--seeds")?.unwrap_or(sim::GATE_SEEDS);
    let fuzz_seconds = args.value("--fuzz-seconds")?.unwrap_or(fuzz::GATE_SECONDS);
    args.finish()?;
    let mut board = Board::new("cargo xtask test", only, skip);
    steps(&mut board, seeds, fuzz_seconds);
    board.finish()
}

/// The gate's steps: cheap ones first.
pub(crate) fn steps(board: &mut Board, seeds: u64, fuzz_seconds: u64) {
    board.step("setup", setup::step);
    board.step("peers", peers::step);
    board.step("fmt", || {
        plain(&["fmt", "--all", "--", "--check"])?;
        plain(&["fmt", "--all", "--manifest-path", "tests/peers/Cargo.toml", "--", "--check"])?;
        plain(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--", "--check"])
    });
    board.step("tidy", tidy::step);
    board.step("rust-version", toolchain::minimum_step);
    board.step("licences", licences::step);
    board.step("clippy", || {
        let words = ["clippy", "--workspace", "--all-targets", "--features", FEATURES];
        plain(&[words.as_slice(), &["--", "-D", "warnings"]].concat())?;
        let words = ["clippy", "--manifest-path", "fuzz/Cargo.toml", "--all-targets"];
        plain(&[words.as_slice(), &["--", "-D", "warnings"]].concat())
    });
    board.step("features", features::quick_step);
    board.step("examples", || plain(&["build", "--workspace", "--examples"]));
    board.step("tests", runner::step);
    board.step("doctests", runner::doc_step);
    board.step("docs", || {
        let words = ["doc", "--workspace", "--no-deps", "--features", FEATURES];
        finish(&Job::cargo(&words).env("RUSTDOCFLAGS", "-D warnings"))
    });
    board.step("sim", || sim::step(seeds));
    board.step("loom", || loom::step(true));
    board.step("fuzz", || fuzz::step(fuzz_seconds));
}

/// A cargo command whose success is all that counts.
fn plain(words: &[&str]) -> Step {
    finish(&Job::cargo(words))
}

fn finish(job: &Job) -> Step {
    job.run()?.good().map_err(|end| format!("{}: {end}", job.command_line()))?;
    Ok(Report::default())
}
