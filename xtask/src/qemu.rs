//! Test binaries on another kernel: Debian's own, booted in a guest by `xtask/qemu/boot.sh`.
//!
//! The guest has no compiler and no registry: the binaries are built here and carried in.

use crate::args::Args;
use crate::board::{Failure, Report, Step};
use crate::job::Job;
use crate::runner::FEATURES;
use crate::tally::Tally;
use crate::{Outcome, lacking, paths, setup};

pub(crate) const USAGE: &str = "[--backports] [--test NAME] [-- ARG...]";
/// Building the binaries.
const BUILD_LIMIT_S: u64 = 1200;
/// Seconds that the guest may run one binary: translated code is some ten times slower.
const GUEST_LIMIT_S: u64 = 900;
/// Test targets that mean nothing in the guest: name, and why.
const NOT_IN_GUEST: &[(&str, &str)] = &[
    ("sim", "no kernel is involved"),
    ("examples", "starts programs that the guest does not have"),
];

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let backports = args.flag("--backports");
    let test: Option<String> = args.value("--test")?;
    let passed_on = args.passed_on();
    args.finish()?;
    boot(backports, test.as_deref(), &passed_on).map(drop).map_err(|failure| failure.why)
}

/// Everything on the oldest kernel that is supported.
pub(crate) fn step() -> Step {
    boot(false, None, &[])
}

fn boot(backports: bool, only: Option<&str>, args: &[String]) -> Step {
    setup::need("qemu")?;
    let words = ["test", "--no-run", "--package", "zero-io", "--features", FEATURES];
    let job = Job::cargo(&words).args(match only {
        Some("lib") => vec!["--lib".to_string()],
        Some(test) => vec!["--test".to_string(), test.to_string()],
        None => vec!["--lib".to_string(), "--tests".to_string()],
    });
    let ran = job.limit_s(BUILD_LIMIT_S).run()?.good()?;
    let binaries: Vec<Binary> = ran.lines.iter().filter_map(|line| binary_of(line)).collect();
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for Binary { name, path } in binaries {
        if only.is_none() && NOT_IN_GUEST.iter().any(|(not, _)| *not == name) {
            continue;
        }
        let script = paths::root()?.join("xtask/qemu/boot.sh");
        let mut job = Job::new("bash", &[&script.display().to_string()]);
        if backports {
            job = job.arg("-b");
        }
        let job = job.args(["-t", &GUEST_LIMIT_S.to_string(), "--", &path, "--test-threads=1"]);
        let job = job.args(lacking::skips(&name, &path)?);
        let ran = job.args(args.iter().cloned()).limit_s(GUEST_LIMIT_S + 300).run()?;
        tally.add(ran.tally);
        if !ran.ok {
            failed.push(name);
        }
    }
    match (failed.is_empty(), tally.passed) {
        (true, 0) => Err("no test ran in the guest".to_string().into()),
        (true, _) => Ok(Report { tally, note: "Debian's kernel in a guest".to_string() }),
        (false, _) => Err(Failure { tally, why: format!("failed: {}", failed.join(", ")) }),
    }
}

struct Binary {
    /// `lib`, or the test target's name.
    name: String,
    path: String,
}

/// Reads cargo's `Executable unittests src/lib.rs (PATH)` and `Executable tests/tcp.rs (PATH)`.
fn binary_of(line: &str) -> Option<Binary> {
    let rest = line.trim_start().strip_prefix("Executable ")?;
    let (source, path) = rest.strip_suffix(')')?.rsplit_once(" (")?;
    let file = source.rsplit(' ').next().unwrap_or(source);
    let name = match file {
        "src/lib.rs" => "lib",
        file => file.strip_prefix("tests/")?.trim_end_matches("/main.rs").trim_end_matches(".rs"),
    };
    Some(Binary { name: name.to_string(), path: path.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_are_read_from_cargo_lines() {
        let name = |line: &str| binary_of(line).map(|binary| binary.name);
        let lib = "  Executable unittests src/lib.rs (target/debug/deps/zero_io-1)";
        assert_eq!(name(lib).as_deref(), Some("lib"));
        let test = "  Executable tests/tcp.rs (target/debug/deps/tcp-1)";
        assert_eq!(name(test).as_deref(), Some("tcp"));
        assert_eq!(name("  Executable unittests examples/a.rs (target/x)"), None);
        assert_eq!(name("   Compiling zero-io"), None);
    }
}
