//! All long lanes: what is run before an issue is called resolved or a version is published.

use crate::Outcome;
use crate::args::Args;
use crate::board::{Board, Report};
use crate::{asan, bench, features, fuzz, loom, miri, qemu, sim, test};

pub(crate) const USAGE: &str = "[--fuzz-seconds N] [--seeds N] ..";
/// Rounds of the peer tables.
const BENCH_ROUNDS: u32 = 7;
/// Fuzzing inside the gate's own steps: the long lane follows.
const GATE_FUZZ_SECONDS: u64 = 1;

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let only = args.value("--only")?;
    let skip = args.value("--skip")?;
    let seeds = args.value("--seeds")?.unwrap_or(sim::RELEASE_SEEDS);
    let fuzz_seconds = args.value("--fuzz-seconds")?.unwrap_or(fuzz::RELEASE_SECONDS);
    args.finish()?;
    let mut board = Board::new("release", only, skip);
    test::steps(&mut board, sim::GATE_SEEDS, GATE_FUZZ_SECONDS);
    board.step("features-full", || features::check(false));
    board.step("sim-long", || sim::step(seeds));
    board.step("loom-full", || loom::step(false));
    board.step("asan", asan::step);
    board.step("miri", miri::step);
    board.step("qemu", qemu::step);
    board.step("qemu-ktls", qemu::ktls_step);
    board.step("fuzz-long", || fuzz::step(fuzz_seconds));
    board.step("bench", || Ok(Report::note(format!("{} suites", bench::all(BENCH_ROUNDS)?))));
    board.finish()
}
