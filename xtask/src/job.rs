//! One child process: printed before it starts, echoed while it runs, bounded in time.
//!
//! Invariant: no child outlives its limit; on expiry its whole tree of descendants is killed, by
//! process id, so that a hung test cannot hang the gate.

use crate::tally::Tally;
use crate::{Outcome, paths};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Limit of a job that names none.
const LIMIT_DEFAULT_S: u64 = 900;
/// How often a running child is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);
/// How long pipes may stay open after the child's end (a grandchild may hold them).
const PIPE_GRACE: Duration = Duration::from_secs(3);

/// What a child left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) ok: bool,
    /// The exit status in words, or that the limit expired.
    pub(crate) end: String,
    pub(crate) tally: Tally,
    /// Both outputs, line by line, in order of arrival.
    pub(crate) lines: Vec<String>,
}

impl Ran {
    /// This run, if the child ended well.
    pub(crate) fn good(self) -> Outcome<Self> {
        if self.ok { Ok(self) } else { Err(self.end) }
    }
}

/// A child process to be.
pub(crate) struct Job {
    program: String,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    cwd: Option<PathBuf>,
    limit: Duration,
    quiet: bool,
}

impl Job {
    pub(crate) fn new(program: &str, args: &[&str]) -> Self {
        Self {
            program: program.to_string(),
            args: args.iter().map(ToString::to_string).collect(),
            envs: Vec::new(),
            cwd: None,
            limit: Duration::from_secs(LIMIT_DEFAULT_S),
            quiet: false,
        }
    }

    /// The cargo of the toolchain that runs this program.
    pub(crate) fn cargo(args: &[&str]) -> Self {
        Self::new("cargo", args)
    }

    pub(crate) fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.envs.push((name.to_string(), value.to_string()));
        self
    }

    pub(crate) fn target_dir(self, dir: &Path) -> Self {
        self.env("CARGO_TARGET_DIR", dir.display())
    }

    pub(crate) fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    pub(crate) fn limit_s(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Keeps the output to itself: for questions, not for work.
    pub(crate) fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The command as one could type it.
    pub(crate) fn command_line(&self) -> String {
        let quoted = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
            let bare = !text.is_empty() && text.chars().all(plain);
            if bare { text.to_string() } else { format!("'{}'", text.replace('\'', r"'\''")) }
        };
        let envs = self.envs.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = std::iter::once(&self.program).chain(&self.args).map(|word| quoted(word));
        envs.chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end. `Err` only when it cannot be started.
    pub(crate) fn run(&self) -> Outcome<Ran> {
        if !self.quiet {
            println!("$ {}", self.command_line());
        }
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.envs.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.cwd.clone().map_or_else(paths::root, Ok)?);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|e| format!("cannot start {}: {e}", self.program))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let pumps = [
            child.stdout.take().map(|pipe| pump(pipe, &lines, self.quiet)),
            child.stderr.take().map(|pipe| pump(pipe, &lines, self.quiet)),
        ];
        let (ok, end) = watch(&mut child, self.limit);
        let deadline = Instant::now() + PIPE_GRACE;
        while Instant::now() < deadline && !pumps.iter().flatten().all(|p| p.is_finished()) {
            thread::sleep(Duration::from_millis(1));
        }
        let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(|poison| poison.into_inner()));
        let mut tally = Tally::default();
        lines.iter().for_each(|line: &String| tally.read_line(line));
        Ok(Ran { ok, end, tally, lines })
    }

    /// Runs it quietly; whether it ended well. A program that is not there did not.
    pub(crate) fn succeeds(self) -> bool {
        self.quiet().run().is_ok_and(|ran| ran.ok)
    }
}

/// Copies a pipe line by line into `lines`, and to our own output unless `quiet`.
fn pump(
    pipe: impl Read + Send + 'static,
    lines: &Arc<Mutex<Vec<String>>>,
    quiet: bool,
) -> thread::JoinHandle<()> {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut raw = Vec::new();
        while matches!(reader.read_until(b'\n', &mut raw), Ok(n) if n > 0) {
            let line = String::from_utf8_lossy(&raw).trim_end().to_string();
            raw.clear();
            if !quiet {
                println!("{line}");
            }
            lines.lock().unwrap_or_else(|poison| poison.into_inner()).push(line);
        }
    })
}

/// Waits for the child's end or the limit's.
fn watch(child: &mut Child, limit: Duration) -> (bool, String) {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return (status.success(), status.to_string()),
            Ok(None) if Instant::now() < deadline => thread::sleep(WATCH_INTERVAL),
            Ok(None) => {
                kill_tree(child);
                return (false, format!("killed after its limit of {} s", limit.as_secs()));
            }
            Err(e) => return (false, format!("cannot wait for it: {e}")),
        }
    }
}

/// Kills a child of ours and everything below it.
fn kill_tree(child: &mut Child) {
    let mut doomed = vec![child.id()];
    let mut next = 0;
    while let Some(&pid) = doomed.get(next) {
        doomed.extend(children(pid));
        next += 1;
    }
    for pid in &doomed[1..] {
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Processes whose parent is `parent`, from /proc.
fn children(parent: u32) -> Vec<u32> {
    let processes = paths::list(Path::new("/proc"));
    let pids = processes.iter().filter_map(|p| p.file_name()?.to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the command in parentheses: state, then the parent's id.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        fields.split_whitespace().nth(1) == Some(&parent.to_string())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Job {
        Job::new("sh", &["-c", script]).quiet()
    }

    #[test]
    fn output_status_and_counts_come_back() {
        let ran =
            shell("echo one; echo two >&2; echo 'test result: ok. 4 passed; 0 failed'; exit 3");
        let ran = ran.run().expect("sh starts");
        assert!(!ran.ok && ran.end.contains('3'), "{}", ran.end);
        assert_eq!(ran.lines.len(), 3);
        assert_eq!(ran.tally.passed, 4);
    }

    #[test]
    fn the_limit_kills_the_whole_tree() {
        let begun = Instant::now();
        let ran = shell("sh -c 'sleep 60' & sleep 60").limit_s(1).run().expect("sh starts");
        assert!(!ran.ok && ran.end.contains("limit"), "{}", ran.end);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_missing_program_is_no_success() {
        assert!(!Job::new("no-such-program-anywhere", &[]).succeeds());
    }

    #[test]
    fn the_command_line_can_be_typed() {
        let job = Job::new("cargo", &["test"]).arg("a b").env("RUSTFLAGS", "--cfg loom");
        assert_eq!(job.command_line(), "RUSTFLAGS='--cfg loom' cargo test 'a b'");
    }
}
