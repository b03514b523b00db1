//! Measurements: suites of `benches/`, and comparisons with peers of `benches/peers`.
//!
//! Without a suite: all of them in one run, with all peers, in few rounds. A suite that fails does
//! not keep the others from running.
//!
//! `benches/peers` is a workspace of its own, so that its dependencies stay out of this one. A
//! suite `tcp` there is the script `run-tcp.sh [ROUNDS] [SECONDS]`; it prints one table. It finds
//! the engine's servers in ZERO_IO_EXAMPLES, and ZERO_IO_PEERS says whether to run them against
//! the bare loops alone (`bare`) or against all peers too (`all`).

use crate::args::Args;
use crate::job::Job;
use crate::manifest::{self, Bench};
use crate::{Outcome, paths, setup};
use std::path::{Path, PathBuf};

pub(crate) const USAGE: &str = "[SUITE | --list] [--peers] [--counts] ..";
/// Rounds that a comparison needs at least to mean something.
const ROUNDS_DEFAULT: u32 = 5;
/// Rounds where nobody asked for a suite: an overview.
const ROUNDS_OF_ALL: u32 = 2;
/// Suites with figures that are counted, not timed (`run-counts.sh`).
const COUNTED_SUITES: &[&str] = &["tcp", "http", "ws"];
/// Suites that need no more than sockets; the others have servers of whole protocols as peers.
const SOCKET_SUITES: &[&str] = &["tcp", "tls", "udp"];
const BUILD_LIMIT_S: u64 = 3600;
const SUITE_LIMIT_S: u64 = 2 * 3600;

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let list = args.flag("--list");
    let peers = args.flag("--peers");
    let counts = args.flag("--counts");
    let rounds: Option<u32> = args.value("--rounds")?;
    let seconds: Option<f32> = args.value("--secs")?;
    let suite = args.positional();
    args.finish()?;
    let suites = Suites::find()?;
    if list {
        println!("suites: {}", suites.names().join(", "));
        return Ok(());
    }
    let Some(suite) = suite else {
        return match counts {
            true => Err(format!("--counts needs a suite: {}", COUNTED_SUITES.join(", "))),
            false => suites.run_all(rounds.unwrap_or(ROUNDS_OF_ALL), seconds).map(drop),
        };
    };
    let Suites { root, own, compared } = &suites;
    let bench = own.iter().find(|bench| bench.name == suite);
    let is_compared = compared.contains(&suite);
    if bench.is_none() && !is_compared {
        return Err(format!("no suite `{suite}`: {}", suites.names().join(", ")));
    }
    if let Some(bench) = bench {
        measure(bench)?;
    }
    if is_compared {
        build(root, &[&suite], peers)?;
        match counts {
            true => count(root, &suite)?,
            false => compare(root, &suite, peers, rounds.unwrap_or(ROUNDS_DEFAULT), seconds)?,
        }
    }
    Ok(())
}

/// Everything, with all peers: for a release. How many suites that is.
pub(crate) fn all(rounds: u32) -> Outcome<usize> {
    Suites::find()?.run_all(rounds, None)
}

/// What there is to measure.
struct Suites {
    root: PathBuf,
    /// Those of `benches/`.
    own: Vec<Bench>,
    /// Those with a script in `benches/peers`.
    compared: Vec<String>,
}

impl Suites {
    fn find() -> Outcome<Self> {
        let root = paths::root()?;
        let own = manifest::benches(&paths::read(&root.join("Cargo.toml"))?);
        let scripts = paths::list(&root.join("benches/peers"));
        let names = scripts.iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            Some(name.strip_prefix("run-")?.strip_suffix(".sh")?.to_string())
        });
        let compared = names.filter(|name| !["all", "counts"].contains(&name.as_str())).collect();
        Ok(Self { root, own, compared })
    }

    /// All names, sorted.
    fn names(&self) -> Vec<&str> {
        let own = self.own.iter().map(|bench| bench.name.as_str());
        let mut names: Vec<_> = own.chain(self.compared.iter().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn run_all(&self, rounds: u32, seconds: Option<f32>) -> Outcome<usize> {
        let Self { root, own, compared } = self;
        let mut failed = Vec::new();
        let mut note = |suite: &str, outcome: Outcome<()>| {
            failed.extend(outcome.err().map(|why| format!("{suite}: {why}")));
        };
        for bench in own {
            note(&bench.name, measure(bench));
        }
        let names = compared.iter().map(String::as_str).collect::<Vec<_>>();
        match build(root, &names, true) {
            Err(why) => note("the peers", Err(why)),
            Ok(()) => {
                for suite in names {
                    note(suite, compare(root, suite, true, rounds, seconds));
                    if COUNTED_SUITES.contains(&suite) {
                        note(suite, count(root, suite));
                    }
                }
            }
        }
        match failed.is_empty() {
            true => Ok(self.names().len()),
            false => Err(failed.join("; ")),
        }
    }
}

/// Runs a suite of `benches/`, with the features that it requires.
fn measure(bench: &Bench) -> Outcome<()> {
    setup::need("bench")?;
    let features = bench.features.join(",");
    let job = Job::cargo(&["bench", "--package", "zero-io", "--features", &features]);
    job.args(["--bench", &bench.name]).limit_s(SUITE_LIMIT_S).run()?.good()?;
    Ok(())
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
    fn every_file_of_benches_is_a_suite_and_says_what_it_requires() {
        let suites = Suites::find().expect("the workspace");
        let files = paths::list(&suites.root.join("benches"));
        let names = files.iter().filter_map(|path| match path.join("main.rs").is_file() {
            true => path.file_name()?.to_str(),
            false => path.file_name()?.to_str()?.strip_suffix(".rs"),
        });
        let mut names = names.collect::<Vec<_>>();
        names.sort_unstable();
        let mut own: Vec<_> = suites.own.iter().map(|bench| bench.name.as_str()).collect();
        own.sort_unstable();
        assert_eq!(own, names);
        let text = paths::read(&suites.root.join("Cargo.toml")).expect("the manifest");
        let known = manifest::features(&text);
        for Bench { name, features } in &suites.own {
            let is_known = |feature: &String| known.iter().any(|one| one.name == *feature);
            assert!(features.iter().all(is_known), "{name}: {features:?}");
        }
        assert!(suites.compared.contains(&"tcp".to_string()), "{:?}", suites.compared);
    }

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
