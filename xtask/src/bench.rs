//! Measurements: suites of `benches/`, and comparisons with peers of `benches/peers`.
//!
//! `benches/peers` is a workspace of its own, so that its dependencies stay out of this one. A
//! suite `tcp` there is the script `run-tcp.sh [ROUNDS] [SECONDS]`; it prints one table.

use crate::args::Args;
use crate::job::Job;
use crate::{Outcome, paths, setup};
use std::path::Path;

pub(crate) const USAGE: &str = "[SUITE] [--peers] [--rounds N] [--secs S]";
/// Rounds that a comparison needs at least to mean something.
const ROUNDS_DEFAULT: u32 = 5;
const BUILD_LIMIT_S: u64 = 3600;
const SUITE_LIMIT_S: u64 = 2 * 3600;

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let peers = args.flag("--peers");
    let rounds = args.value("--rounds")?.unwrap_or(ROUNDS_DEFAULT);
    let seconds: Option<f32> = args.value("--secs")?;
    let suite = args.positional();
    args.finish()?;
    let root = paths::root()?;
    let suites = suites(&root);
    let Some(suite) = suite else {
        println!("suites: {}", suites.join(", "));
        return Ok(());
    };
    if !suites.contains(&suite) {
        return Err(format!("no suite `{suite}`: {}", suites.join(", ")));
    }
    if root.join(format!("benches/{suite}.rs")).is_file() {
        let job = Job::cargo(&["bench", "--package", "zero-io", "--bench", &suite]);
        job.limit_s(SUITE_LIMIT_S).run()?.good()?;
    }
    if script(&root, &suite).is_file() {
        setup::need("bench")?;
        build_all(&root)?;
        compare(&root, &suite, peers, rounds, seconds)?;
    }
    Ok(())
}

/// Every comparison, with all peers: for a release.
pub(crate) fn all(rounds: u32) -> Outcome<usize> {
    let root = paths::root()?;
    setup::need("bench")?;
    build_all(&root)?;
    let compared: Vec<_> =
        suites(&root).into_iter().filter(|suite| script(&root, suite).is_file()).collect();
    for suite in &compared {
        compare(&root, suite, true, rounds, None)?;
    }
    Ok(compared.len())
}

fn script(root: &Path, suite: &str) -> std::path::PathBuf {
    root.join(format!("benches/peers/run-{suite}.sh"))
}

/// Names of the suites, sorted.
fn suites(root: &Path) -> Vec<String> {
    let names = |dir: &str, prefix: &str, suffix: &str| {
        let files = paths::list(&root.join(dir));
        let names = files.iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            Some(name.strip_prefix(prefix)?.strip_suffix(suffix)?.to_string())
        });
        names.filter(|name| name != "all").collect::<Vec<_>>()
    };
    let mut all = names("benches", "", ".rs");
    all.extend(names("benches/peers", "run-", ".sh"));
    all.sort();
    all.dedup();
    all
}

/// The engine's servers and the peers, in release mode.
fn build_all(root: &Path) -> Outcome<()> {
    let own = Job::cargo(&["build", "--release", "--package", "zero-io", "--examples"]);
    own.limit_s(BUILD_LIMIT_S).run()?.good()?;
    let peers = root.join("benches/peers");
    let build = Job::cargo(&["build", "--release", "--workspace"]).cwd(&peers);
    build.limit_s(BUILD_LIMIT_S).run()?.good()?;
    Job::new("./setup.sh", &["cert", "c"]).cwd(&peers).run()?.good()?;
    Ok(())
}

fn compare(
    root: &Path,
    suite: &str,
    peers: bool,
    rounds: u32,
    seconds: Option<f32>,
) -> Outcome<()> {
    let script = format!("./run-{suite}.sh");
    let examples = paths::target()?.join("release/examples");
    let mut job = Job::new(&script, &[&rounds.to_string()]).cwd(root.join("benches/peers"));
    if let Some(seconds) = seconds {
        job = job.arg(seconds.to_string());
    }
    let job = job.env("ZERO_IO_EXAMPLES", examples.display());
    // Without peers: the engine and the bare loops that bound it.
    let job = job.env("ZERO_IO_PEERS", if peers { "all" } else { "bare" });
    job.limit_s(SUITE_LIMIT_S).run()?.good()?;
    Ok(())
}
