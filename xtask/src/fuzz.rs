//! Fuzzing: every target of `fuzz/`, for a while.
//!
//! Three ways, the best that the machine has, and the one taken is said:
//! 1. libFuzzer with AddressSanitizer: a nightly and a C++ compiler;
//! 2. libFuzzer alone, on stable: a C++ compiler;
//! 3. the seeds and deterministic mutations of them, through a plain test: a Rust compiler.
//!
//! Invariant: each target runs in each of the three; none is left out because a tool is missing.

use crate::args::Args;
use crate::board::{Failure, Report, Step};
use crate::job::Job;
use crate::tally::Tally;
use crate::{Outcome, paths, setup, toolchain};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

/// Seconds for each target in the gate.
pub(crate) const GATE_SECONDS: u64 = 8;
/// Seconds for each target before a release.
pub(crate) const RELEASE_SECONDS: u64 = 3600;
/// Seconds for each target when nothing is said.
const DEFAULT_SECONDS: u64 = 60;
/// Building, and what libFuzzer takes beyond its own limit.
const SLACK_S: u64 = 900;
/// What libFuzzer's line of the executions starts with.
const EXECUTED: &str = "stat::number_of_executed_units:";
/// Longest input.
const INPUT_LEN_MAX: u32 = 64 * 1024;

/// Coverage counters for libFuzzer: what its instrumentation consists of.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing -Ccodegen-units=1 -Cdebug-assertions";

/// How targets are run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Sanitized,
    Covered,
    Plain,
}

impl Way {
    fn best() -> Self {
        match (setup::present("c++"), toolchain::has("nightly")) {
            (true, true) => Self::Sanitized,
            (true, false) => Self::Covered,
            (false, _) => Self::Plain,
        }
    }

    /// The way that was asked for by name, or the best.
    fn named(name: Option<&str>) -> Outcome<Self> {
        match name {
            None => Ok(Self::best()),
            Some("sanitized") => Ok(Self::Sanitized),
            Some("covered") => Ok(Self::Covered),
            Some("plain") => Ok(Self::Plain),
            Some(other) => Err(format!("no way `{other}`: sanitized, covered, plain")),
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Sanitized => "libFuzzer with AddressSanitizer",
            Self::Covered => "libFuzzer without a sanitizer (that needs a nightly)",
            Self::Plain => "NO LIBFUZZER (that needs c++): seeds and mutations only",
        }
    }
}

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let seconds = args.value("--seconds")?.unwrap_or(DEFAULT_SECONDS);
    let way = Way::named(args.value::<String>("--way")?.as_deref())?;
    let target = args.positional();
    args.finish()?;
    fuzz(way, target.as_deref(), seconds).map(drop).map_err(|failure| failure.why)
}

/// Every target for `seconds` each.
pub(crate) fn step(seconds: u64) -> Step {
    fuzz(Way::best(), None, seconds)
}

fn fuzz(way: Way, only: Option<&str>, seconds: u64) -> Step {
    println!("{}", way.describe());
    let targets = targets()?;
    let chosen: Vec<&String> =
        targets.iter().filter(|target| only.is_none_or(|only| only == **target)).collect();
    if chosen.is_empty() {
        return Err(format!("no such target; there are: {}", targets.join(", ")).into());
    }
    let note = format!("{} targets x {seconds} s, {}", chosen.len(), way.describe());
    let mut tally = Tally::default();
    if way == Way::Plain {
        let job = manifest_job("test").args(["--release", "--test", "mutations"]);
        let job = job.env("ZERO_IO_FUZZ_SECONDS", seconds);
        let job = only.into_iter().fold(job, |job, target| job.env("ZERO_IO_FUZZ_TARGET", target));
        let ran = job.limit_s(SLACK_S + seconds * chosen.len() as u64).run()?;
        return match ran.ok && ran.tally.passed > 0 {
            true => Ok(Report { tally: ran.tally, note }),
            false => Err(Failure { tally: ran.tally, why: ran.end }),
        };
    }
    let binary = build(way)?;
    let crashed = run_targets(&binary, &chosen, seconds)?;
    tally.failed = crashed.len() as u64;
    tally.passed = chosen.len() as u64 - tally.failed;
    match crashed.is_empty() {
        true => Ok(Report { tally, note }),
        false => Err(Failure { tally, why: format!("found something: {}", crashed.join(", ")) }),
    }
}

/// Fuzzes the targets, as many at a time as there are processors; those that found something.
fn run_targets(binary: &Path, targets: &[&String], seconds: u64) -> Outcome<Vec<String>> {
    let next = AtomicUsize::new(0);
    let take_turns = || -> Outcome<Vec<String>> {
        let mut crashed = Vec::new();
        while let Some(target) = targets.get(next.fetch_add(1, Relaxed)) {
            if !run_target(binary, target, seconds)? {
                crashed.push(target.to_string());
            }
        }
        Ok(crashed)
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(take_turns)).collect();
        let mut crashed = Vec::new();
        for worker in workers {
            crashed.extend(worker.join().map_err(|_| "a fuzzer's thread panicked")??);
        }
        Ok(crashed)
    })
}

fn manifest_job(command: &str) -> Job {
    Job::cargo(&[command, "--manifest-path", "fuzz/Cargo.toml"])
}

/// The names that the fuzz crate lists itself.
fn targets() -> Outcome<Vec<String>> {
    let job = manifest_job("run").args(["--quiet", "--bin", "targets"]);
    let ran = job.target_dir(&paths::lane_target("fuzz-list")?).run()?;
    if !ran.ok {
        return Err(format!("the fuzz crate does not build: {}", ran.end));
    }
    Ok(ran.lines.iter().filter_map(|l| l.strip_prefix("target ")).map(String::from).collect())
}

/// Builds the one binary that holds every target.
fn build(way: Way) -> Outcome<PathBuf> {
    let host = toolchain::host()?;
    let words = ["build", "--manifest-path", "fuzz/Cargo.toml", "--release", "--bin", "libfuzzer"];
    let (job, lane, flags) = match way {
        Way::Sanitized => (
            toolchain::cargo_of("nightly", &words),
            "fuzz-asan",
            format!("{COVERAGE} -Zsanitizer=address"),
        ),
        _ => (Job::cargo(&words), "fuzz", COVERAGE.to_string()),
    };
    let target_dir = paths::lane_target(lane)?;
    let job = job.args(["--features", "libfuzzer", "--target", &host]).env("RUSTFLAGS", flags);
    let job = job.env("CARGO_PROFILE_RELEASE_LTO", "off");
    job.target_dir(&target_dir).limit_s(SLACK_S).run()?.good()?;
    Ok(target_dir.join(host).join("release/libfuzzer"))
}

/// Fuzzes one target; whether it found nothing.
fn run_target(binary: &Path, target: &str, seconds: u64) -> Outcome<bool> {
    let fuzz = paths::root()?.join("fuzz");
    let made = |kind: &str| {
        let dir = fuzz.join(kind).join(target);
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok::<_, String>(format!("fuzz/{kind}/{target}"))
    };
    let (corpus, artifacts) = (made("corpus")?, made("artifacts")?);
    let mut job = Job::new(&binary.display().to_string(), &[])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_LEN_MAX}"))
        .arg(format!("-artifact_prefix={artifacts}/"))
        .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"])
        .arg(corpus)
        .env("ZERO_IO_FUZZ_TARGET", target)
        .limit_s(SLACK_S + seconds);
    if fuzz.join("seeds").join(target).is_dir() {
        job = job.arg(format!("fuzz/seeds/{target}"));
    }
    let ran = job.quiet().run()?;
    if ran.ok {
        let executed = |line: &String| line.strip_prefix(EXECUTED).map(|n| n.trim().to_string());
        let executed = ran.lines.iter().find_map(executed).unwrap_or_default();
        println!("{target}: nothing found in {executed} executions, {seconds} s");
    } else {
        println!("{}", ran.lines.join("\n"));
        println!("{target}: {}; the input is in fuzz/artifacts/{target}/", ran.end);
    }
    Ok(ran.ok)
}
