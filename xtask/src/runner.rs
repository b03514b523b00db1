//! The workspace's tests, each in a process of its own.
//!
//! With nextest where it is installed. Where it is not, the same by hand: build the test
//! binaries, list their tests, run each alone. Tests that count descriptors, lower limits or fork
//! rely on having a process to themselves; and those with `alone_` in their name on having the
//! machine (`.config/nextest.toml` says the same to nextest).

use crate::Outcome;
use crate::board::{Failure, Step};
use crate::job::Job;
use crate::sim::AMONG_TESTS_SEEDS;
use crate::tally::Tally;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What the test lanes compile with.
pub(crate) const FEATURES: &str = "zero-io/_sim,zero-io/http-client,zero-io/http-gzip,\
                                   zero-io/tracing,zero-io/tls-ktls,zero-io/quic-qlog,\
                                   zero-io/tls-platform-roots,zero-io/tls-webpki-roots";
/// Building and running everything.
const SUITE_LIMIT_S: u64 = 1500;
/// One test by hand; nextest has the same in its configuration.
const TEST_LIMIT_S: u64 = 180;
/// Part of the name of a test that runs while no other does.
const ALONE: &str = "alone_";
/// Lines of a failed test that are shown.
const SHOWN_LINES_MAX: usize = 60;
/// A test that takes longer is named in the log.
const SLOW: Duration = Duration::from_secs(5);

/// Unit and integration tests of the whole workspace.
pub(crate) fn step() -> Step {
    let by_hand = std::env::var("ZERO_IO_RUNNER").is_ok_and(|runner| runner == "own");
    let has_nextest = Job::cargo(&["nextest", "--version"]).succeeds();
    let step = if has_nextest && !by_hand { nextest() } else { own() };
    if let Ok(report) = &step
        && report.tally.passed + report.tally.failed == 0
    {
        return Err("no test ran".to_string().into());
    }
    step
}

/// The documentation's examples; neither runner knows them.
pub(crate) fn doc_step() -> Step {
    let ran = Job::cargo(&["test", "--doc", "--workspace", "--features", FEATURES]).run()?;
    settle(ran.tally, ran.ok, &ran.end)
}

/// A step from a finished run.
pub(crate) fn settle(tally: Tally, ok: bool, end: &str) -> Step {
    if ok { Ok(tally.into()) } else { Err(Failure { tally, why: end.to_string() }) }
}

fn nextest() -> Step {
    let words = ["nextest", "run", "--workspace", "--no-fail-fast", "--status-level", "slow"];
    let job = Job::cargo(&words).args(["--hide-progress-bar", "--features", FEATURES]);
    let job = job.env("ZERO_IO_SIM_SEEDS", AMONG_TESTS_SEEDS);
    let ran = job.limit_s(SUITE_LIMIT_S).run()?;
    settle(ran.tally, ran.ok, &ran.end)
}

/// A test binary and the directory that its tests expect to run in.
struct Binary {
    path: String,
    package_dir: PathBuf,
}

/// One test to run.
struct Case<'a> {
    binary: &'a Binary,
    name: String,
}

fn own() -> Step {
    let binaries = build()?;
    let mut tally = Tally::default();
    let mut cases = Vec::new();
    for binary in &binaries {
        let ignored = list(binary, &["--ignored"])?;
        tally.skipped += ignored.len() as u64;
        let names = list(binary, &[])?.into_iter().filter(|name| !ignored.contains(name));
        cases.extend(names.map(|name| Case { binary, name }));
    }
    let (alone, together): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|case| case.name.contains(ALONE));
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    tally.add(run_cases(&together, workers));
    tally.add(run_cases(&alone, 1));
    println!("{} passed, {} failed, {} ignored", tally.passed, tally.failed, tally.skipped);
    Ok(tally.into())
}

/// Builds everything and gives back the test binaries.
fn build() -> Outcome<Vec<Binary>> {
    let words = ["test", "--workspace", "--no-run", "--features", FEATURES];
    let format = "--message-format=json-render-diagnostics";
    let job = Job::cargo(&words).arg(format).limit_s(SUITE_LIMIT_S);
    println!("$ {}", job.command_line());
    let ran = job.quiet().run()?;
    if !ran.ok {
        ran.lines.iter().filter(|line| !line.starts_with('{')).for_each(|line| println!("{line}"));
        return Err(format!("cargo test --no-run: {}", ran.end));
    }
    Ok(ran.lines.iter().filter_map(|line| binary_of(line)).collect())
}

/// The test binary that one of cargo's messages tells of.
fn binary_of(message: &str) -> Option<Binary> {
    let is_test = message.contains(r#""reason":"compiler-artifact""#)
        && message.contains(r#""test":true},"features""#);
    let path = json_string(message, "executable").filter(|_| is_test)?;
    let manifest = PathBuf::from(json_string(message, "manifest_path")?);
    Some(Binary { path, package_dir: manifest.parent()?.to_path_buf() })
}

/// The value of a string member, wherever it stands; `None` when it is null.
fn json_string(message: &str, member: &str) -> Option<String> {
    let (_, rest) = message.split_once(&format!("\"{member}\":\""))?;
    let mut value = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(value),
            '\\' => value.push(chars.next()?),
            _ => value.push(c),
        }
    }
    None
}

fn list(binary: &Binary, more: &[&str]) -> Outcome<Vec<String>> {
    let job = Job::new(&binary.path, &["--list", "--format", "terse"]).args(more.iter().copied());
    let ran = job.cwd(&binary.package_dir).quiet().run()?.good()?;
    let tests = ran.lines.iter().filter_map(|line| line.strip_suffix(": test"));
    Ok(tests.map(String::from).collect())
}

fn run_cases(cases: &[Case<'_>], workers: usize) -> Tally {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let passed = run_case(case);
                    let mut total = total.lock().unwrap_or_else(|poison| poison.into_inner());
                    total.passed += u64::from(passed);
                    total.failed += u64::from(!passed);
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(|poison| poison.into_inner())
}

fn run_case(case: &Case<'_>) -> bool {
    let Binary { path, package_dir } = case.binary;
    let job = Job::new(path, &["--exact", "--nocapture"]).arg(&case.name);
    let job = job.cwd(package_dir).env("CARGO_MANIFEST_DIR", package_dir.display());
    let job = job.env("ZERO_IO_SIM_SEEDS", AMONG_TESTS_SEEDS);
    let begun = Instant::now();
    let (ok, end, lines) = match job.limit_s(TEST_LIMIT_S).quiet().run() {
        Ok(ran) => (ran.ok && ran.tally.passed == 1, ran.end, ran.lines),
        Err(why) => (false, why, Vec::new()),
    };
    let seconds = begun.elapsed().as_secs_f64();
    if !ok {
        let shown = lines.len().saturating_sub(SHOWN_LINES_MAX);
        let tail = lines[shown..].join("\n");
        println!("FAIL [{seconds:.3}s] {} ({end})\n{tail}", case.name);
    } else if begun.elapsed() > SLOW {
        println!("SLOW [{seconds:.3}s] {}", case.name);
    }
    ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_are_read_from_cargo_messages() {
        let message = [
            r#"{"reason":"compiler-artifact","package_id":"x","manifest_path":"/a/b/Cargo.toml","#,
            r#""target":{"name":"t","test":true},"profile":{"opt_level":"0","test":true},"#,
            r#""features":[],"executable":"/t/deps/t-1"}"#,
        ];
        let message = message.concat();
        let binary = binary_of(&message).expect("a test binary");
        assert_eq!(binary.path, "/t/deps/t-1");
        assert_eq!(binary.package_dir, PathBuf::from("/a/b"));
        let library = message.replace(r#""0","test":true"#, r#""0","test":false"#);
        assert!(binary_of(&library).is_none());
        assert!(binary_of(&message.replace(r#""/t/deps/t-1""#, "null")).is_none());
    }
}
