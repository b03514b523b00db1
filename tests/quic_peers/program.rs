//! Other programs: peers, and our examples; and the certificate that all of them use.

use std::fmt::{self, Display, Formatter};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a program may take for what is asked of it.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is told of an end for which the peer gave no reason, as s2n-quic never does.
pub(crate) const NO_REASON: &str = "closed by the peer";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Quinn,
    S2n,
    Quiche,
    Aioquic,
}

impl Peer {
    fn command(self) -> Command {
        let rust = |name| Command::new(present(peers().join("peers/debug").join(name)));
        match self {
            Self::Quinn => rust("quinn-peer"),
            Self::S2n => rust("s2n-peer"),
            Self::Quiche => rust("quiche-peer"),
            Self::Aioquic => {
                let mut python = Command::new(present(peers().join("python/bin/python")));
                let script = "tests/quic_peers/aioquic_peer.py";
                python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
                python
            }
        }
    }

    /// Its server, once it listens.
    pub(crate) fn server(self, certificate: &Certificate, args: &[&str]) -> (Program, SocketAddr) {
        let Certificate { cert, key, .. } = certificate;
        let mut command = self.command();
        command.args(["server", "127.0.0.1:0", "--cert", path(cert), "--key", path(key)]);
        Program::listening(command.args(args))
    }

    /// Its client, which does one case after the other.
    pub(crate) fn client(
        self,
        addr: SocketAddr,
        certificate: &Certificate,
        cases: &[&str],
    ) -> Program {
        let mut command = self.command();
        command.args(["client", &addr.to_string(), "--ca", path(&certificate.cert)]).args(cases);
        Program::start(&mut command)
    }
}

/// One of our examples.
pub(crate) fn example(name: &str) -> Command {
    let example = target().join("debug/examples").join(name);
    // Where the profile has another name, its directory is the one of this test.
    let test = std::env::current_exe().unwrap();
    let beside = test.ancestors().nth(2).unwrap().join("examples").join(name);
    Command::new(present(if beside.exists() { beside } else { example }))
}

/// Where the other implementations are, which lanes with compiler flags of their own do not build
/// anew.
fn peers() -> PathBuf {
    std::env::var_os("ZERO_IO_TEST_PEERS").map_or_else(target, PathBuf::from)
}

fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().to_path_buf()
}

fn present(program: PathBuf) -> PathBuf {
    let what = program.display();
    let fix = "run `cargo xtask test --only peers`, and `cargo build --examples`";
    assert!(program.exists(), "{what} is missing: {fix}");
    program
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// For `localhost`, in files. They are gone with it.
pub(crate) struct Certificate {
    dir: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    pub(crate) fn new((cert, key): (&str, &str)) -> Self {
        let name = std::thread::current().name().unwrap_or_default().replace("::", "-");
        let dir = format!("zero-io-quic-peers-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.join(name), text).unwrap();
            dir.join(name)
        };
        Self { cert: write("cert.pem", cert), key: write("key.pem", key), dir }
    }

    /// A server that is our example.
    pub(crate) fn quic_echo(&self, args: &[&str]) -> (Program, SocketAddr) {
        let mut echo = example("quic_echo");
        echo.args(["127.0.0.1:0", "--alpn", "echo"]);
        echo.args(["--cert", path(&self.cert), "--key", path(&self.key)]);
        Program::listening(echo.args(args))
    }

    /// Our example as a client, and what it is to send. It prints what came back.
    pub(crate) fn quic_client(&self, addr: SocketAddr) -> Command {
        let mut client = example("quic_client");
        client.args([&addr.to_string(), "--alpn", "echo", "--name", "localhost"]);
        client.args(["--ca", path(&self.cert)]);
        client
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A running program, and what it printed. Killed when dropped.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    pub(crate) printed: Vec<String>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, printed: Vec::new() }
    }

    fn listening(command: &mut Command) -> (Self, SocketAddr) {
        let mut program = Self::start(command);
        let line = program.lines.recv_timeout(PATIENCE).expect("a first line");
        let addr = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
        let addr = addr.parse().unwrap();
        program.printed.push(line);
        (program, addr)
    }

    /// Whether it printed such a line by now.
    pub(crate) fn has_printed(&mut self, is_it: impl Fn(&str) -> bool) -> bool {
        self.printed.extend(self.lines.try_iter());
        self.printed.iter().any(|line| is_it(line))
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it ends by itself, and checks that all of it went well.
    #[track_caller]
    pub(crate) fn finish(mut self, cases: &[&str]) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(Instant::now() < end, "it goes on for ever, after {self}");
            std::thread::sleep(Duration::from_millis(5));
        };
        // The rest, up to the end of the pipe.
        self.printed.extend(self.lines.iter());
        assert!(status.success(), "{status}, after {self}");
        let done: Vec<_> = self.printed.iter().filter(|line| *line != "connected").collect();
        assert_eq!(done, cases);
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.printed)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
