//! Measurements: suites of `benches/`, and comparisons with peers of `benches/peers`.
//!
//! `benches/peers` is a workspace of its own, so that its dependencies stay out of this one. A
//! suite `tcp` there is the script `run-tcp.sh [ROUNDS] [SECONDS]`; it prints one table. It finds
//! the engine's servers in ZERO_IO_EXAMPLES, and ZERO_IO_PEERS says whether to run them against
//! the bare loops alone (`bare`) or against all peers too (`all`).

use crate::args::Args;
use crate::job::Job;
use crate::{Outcome, paths, setup};
use std::path::Path;

pub(crate) const USAGE: &str = "[SUITE] [--peers] [--counts] [--rounds N]..";
/// Rounds that a comparison needs at least to mean something.
const ROUNDS_DEFAULT: u32 = 5;
/// Suites with figures that are counted, not timed (`run-counts.sh`).
const COUNTED_SUITES: &[&str] = &["tcp", "http", "ws"];
/// Suites that need no more than sockets; the others have servers of whole protocols as peers.
const SOCKET_SUITES: &[&str] = &["tcp", "tls", "udp"];
/// What the suites of `benches/` need of the engine; others need its default features alone.
const BENCH_FEATURES: &[(&str, &str)] = &[
    ("instructions", "_sim"),
    ("http_parse", "_sim,http"),
    ("quic_instructions", "_sim,quic"),
    ("tls_record", "_sim,tls"),
];
const BUILD_LIMIT_S: u64 = 3600;
const SUITE_LIMIT_S: u64 = 2 * 3600;

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let peers = args.flag("--peers");
    let counts = args.flag("--counts");
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
        let features = BENCH_FEATURES.iter().find(|(name, _)| *name == suite);
        let features = features.map_or("", |(_, features)| features);
        let job = Job::cargo(&["bench", "--package", "zero-io", "--features", features]);
        job.args(["--bench", &suite]).limit_s(SUITE_LIMIT_S).run()?.good()?;
    }
    if script(&root, &suite).is_file() {
        build(&root, &[&suite], peers)?;
        match counts {
            true => count(&root, &suite)?,
            false => compare(&root, &suite, peers, rounds, seconds)?,
        }
    }
    Ok(())
}

/// Every comparison, with all peers: for a release.
pub(crate) fn all(rounds: u32) -> Outcome<usize> {
    let root = paths::root()?;
    let mut compared = suites(&root);
    compared.retain(|suite| script(&root, suite).is_file());
    build(&root, &compared.iter().map(String::as_str).collect::<Vec<_>>(), true)?;
    for suite in &compared {
        compare(&root, suite, true, rounds, None)?;
        if COUNTED_SUITES.contains(&suite.as_str()) {
            count(&root, suite)?;
        }
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
        names.filter(|name| !["all", "counts"].contains(&name.as_str())).collect::<Vec<_>>()
    };
    let mut all = names("benches", "", ".rs");
    all.extend(names("benches/peers", "run-", ".sh"));
    all.sort();
    all.dedup();
    all
}

/// The engine's servers, and the peers that these suites need, in release mode.
fn build(root: &Path, suites: &[&str], peers: bool) -> Outcome<()> {
    setup::need("bench")?;
    let own = Job::cargo(&["build", "--release", "--package", "zero-io", "--examples"]);
    own.limit_s(BUILD_LIMIT_S).run()?.good()?;
    let whole_protocols = suites.iter().any(|suite| !SOCKET_SUITES.contains(suite));
    let mut parts = vec!["sockets"];
    parts.extend(peers.then_some("more"));
    if suites.contains(&"tls") {
        setup::need("bench-tls")?;
        parts.push("tls");
    }
    parts.extend(whole_protocols.then_some("app"));
    let job = Job::new("./setup.sh", &parts).cwd(root.join("benches/peers"));
    job.limit_s(BUILD_LIMIT_S).run()?.good()?;
    Ok(())
}

/// System calls and instructions per message, memory per idle connection.
fn count(root: &Path, suite: &str) -> Outcome<()> {
    if !COUNTED_SUITES.contains(&suite) {
        return Err(format!("counts are there for {}", COUNTED_SUITES.join(", ")));
    }
    let job = script_job(root, "./run-counts.sh")?.arg(suite).env("ZERO_IO_PEERS", "all");
    job.limit_s(SUITE_LIMIT_S).run()?.good()?;
    Ok(())
}

fn script_job(root: &Path, script: &str) -> Outcome<Job> {
    let examples = paths::target()?.join("release/examples");
    let job = Job::new(script, &[]).cwd(root.join("benches/peers"));
    Ok(job.env("ZERO_IO_EXAMPLES", examples.display()))
}

fn compare(
    root: &Path,
    suite: &str,
    peers: bool,
    rounds: u32,
    seconds: Option<f32>,
) -> Outcome<()> {
    let mut job = script_job(root, &format!("./run-{suite}.sh"))?.arg(rounds.to_string());
    if let Some(seconds) = seconds {
        job = job.arg(seconds.to_string());
    }
    // Without peers: the engine and the bare loops that bound it.
    let job = job.env("ZERO_IO_PEERS", if peers { "all" } else { "bare" });
    job.limit_s(SUITE_LIMIT_S).run()?.good()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A server that says of itself what it is told to say, and only blocks.
    const IMPOSTOR: &str = "#!/usr/bin/env python3
import socket, sys
listener = socket.create_server(('127.0.0.1', int(sys.argv[2])))
print('backend', *sys.argv[1].split('-'), flush=True)
while True:
    listener.accept()[0].close()
";

    #[test]
    fn hazard_155_a_server_that_is_not_what_its_label_says_is_not_measured() {
        let own = std::env::temp_dir().join(format!("zero-io-bench-{}", std::process::id()));
        std::fs::create_dir_all(&own).expect("a directory");
        let engine = own.join("engine");
        std::fs::write(&engine, IMPOSTOR).expect("a file");
        std::fs::set_permissions(&engine, PermissionsExt::from_mode(0o755)).expect("its mode");
        let driver = paths::root().expect("the workspace").join("benches/peers/bench.py");
        let asked = |says: &str| {
            let server = format!("x={} {says} {{port}}", engine.display());
            let words = ["--server", &server, "--gen", "true {port}", "--rounds", "1"];
            let cores = ["--score", "0", "--gcore", "0"];
            let job = Job::new("python3", &[&driver.display().to_string()]);
            let job = job.args(words).args(cores).env("RUN", own.display());
            job.quiet().run().expect("python3").lines.join("\n")
        };
        let another = asked("another-epoll");
        assert!(another.contains("its first line is 'backend another epoll'"), "{another}");
        let boasts = asked("engine-io_uring");
        assert!(boasts.contains("but its fds say blocking"), "{boasts}");
        let honest = asked("engine-blocking");
        assert!(honest.contains("cannot parse generator output"), "it is measured: {honest}");
        std::fs::remove_dir_all(&own).expect("it is ours");
    }
}
