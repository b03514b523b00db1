//! Chores of the workspace: `cargo xtask <name>`.
//!
//! Role: dispatch. Each chore is one file named after its noun; `tidy/` holds the house rules.
//! Not-role: nothing here is shipped, and nothing here depends on the engine.
//! Invariant: a chore that cannot do its work says so and fails; none passes by skipping.
#![expect(clippy::print_stdout, reason = "a command line tool answers on standard output")]

mod args;
mod asan;
mod bench;
mod board;
mod features;
mod fuzz;
mod job;
mod lacking;
mod licences;
mod loom;
mod manifest;
mod miri;
mod paths;
mod peers;
mod python;
mod qemu;
mod release;
mod runner;
mod setup;
mod sim;
mod tally;
mod test;
mod tidy;
mod tlsfuzzer;
mod toolchain;

use args::Args;
use std::process::ExitCode;

/// What a chore gives back: a value, or one paragraph that says what failed and what to do.
pub(crate) type Outcome<T> = Result<T, String>;

/// One chore: its name, its arguments and purpose for the help text, and its entry.
struct Chore {
    name: &'static str,
    usage: &'static str,
    purpose: &'static str,
    run: fn(Args) -> Outcome<()>,
}

const fn chore(
    name: &'static str,
    usage: &'static str,
    purpose: &'static str,
    run: fn(Args) -> Outcome<()>,
) -> Chore {
    Chore { name, usage, purpose, run }
}

/// In the order of the help text.
const CHORES: &[Chore] = &[
    chore(
        "test",
        test::USAGE,
        "everything the gate needs; ends with `N passed, N failed`",
        test::run,
    ),
    chore("tidy", "[--fix-ledger] [--wrap]", "the house rules", tidy::run),
    chore("features", "[--quick]", "each feature alone, none, all, defaults", features::run),
    chore("sim", "[--seeds N | --seed S]", "the simulator: many seeds, or one again", sim::run),
    chore("bench", bench::USAGE, "measure, side by side", bench::run),
    chore(
        "fuzz",
        "[TARGET] [--seconds N] [--way WAY]",
        "fuzz one target or each in turn",
        fuzz::run,
    ),
    chore("asan", "", "the test suite under AddressSanitizer (nightly)", asan::run),
    chore("miri", "[FILTER]", "unit tests that need no kernel, under Miri (nightly)", miri::run),
    chore("loom", "[--quick]", "every interleaving of the cross-thread pieces", loom::run),
    chore("qemu", qemu::USAGE, "the test binaries on another kernel, in a guest", qemu::run),
    chore(
        "tlsfuzzer",
        tlsfuzzer::USAGE,
        "tlsfuzzer's scripts against the example tls_echo",
        tlsfuzzer::run,
    ),
    chore("licences", "", "licences of what we depend on; no async runtime", licences::run),
    chore("release", release::USAGE, "all long lanes", release::run),
    chore("setup", "[--check] [LANE...]", "Debian packages that the lanes need", setup::run),
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let Some(chore) = CHORES.iter().find(|chore| chore.name == name) else {
        help();
        let asked_for_help = matches!(name.as_str(), "help" | "--help" | "-h");
        return if asked_for_help { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    match (chore.run)(Args::new(words.collect())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("xtask {name}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn help() {
    println!("cargo xtask CHORE [ARGUMENT...]\n");
    for Chore { name, usage, purpose, .. } in CHORES {
        println!("  {:<40} {purpose}", format!("{name} {usage}"));
    }
}
