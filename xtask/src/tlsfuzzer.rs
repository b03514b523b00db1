//! The applicable scripts of tlsfuzzer against the example `tls_echo`.
//!
//! tlsfuzzer is in no registry: a checkout of it is given by `--dir`. What it needs from PyPI goes
//! into a virtual environment below the target directory.
//!
//! Invariant: what is expected to fail is named here, with the reason, and fails the lane when it
//! does not fail any more.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::args::Args;
use crate::job::Job;
use crate::python::{Package, environment};
use crate::{Outcome, paths, setup};

pub(crate) const USAGE: &str = "--dir CHECKOUT [--only SCRIPT]";
const BUILD_LIMIT_S: u64 = 1200;
const SCRIPT_LIMIT_S: u64 = 300;
/// Its TLS implementation, from PyPI.
const TLSLITE: Package = Package { module: "tlslite", requirement: "tlslite-ng==0.9.0b2" };

/// It waits for one answer to all that it sent; an echo answers to each piece.
const ECHO: &str = "an echo answers sooner";
/// What happens before the handshake is done is rustls'.
const RUSTLS: &str = "rustls ends the handshake without this alert";
/// A ClientHello in more pieces than the script deems right.
const LENIENT: &str = "rustls takes it";

/// A script, its words, and the conversations that are expected to fail, each with the reason.
struct Script {
    name: &'static str,
    words: &'static str,
    fails: &'static [(&'static str, &'static str)],
}

const fn script(name: &'static str, words: &'static str) -> Script {
    Script { name, words, fails: &[] }
}

/// TLS 1.2 with a suite that we have.
const AEAD: &str = "-d -C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";

const SCRIPTS: &[Script] = &[
    script("tls13-conversation", ""),
    script("tls13-ccs", ""),
    script("tls13-count-tickets", ""),
    script("tls13-hrr", ""),
    script("tls13-nociphers", ""),
    script("tls13-record-padding", ""),
    script("tls13-unencrypted-alert", ""),
    // The rest of it has an answer in the middle of what is sent, some of the time.
    script("tls13-keyupdate", "-e 'app data split, conversation with KeyUpdate msg'"),
    Script {
        fails: &[
            ("empty alert with no padding using handshake keys", RUSTLS),
            ("empty alert with 2 bytes of padding using handshake keys", RUSTLS),
            ("empty alert with 5 bytes of padding using handshake keys", RUSTLS),
            ("empty alert with 30 bytes of padding using handshake keys", RUSTLS),
        ],
        ..script("tls13-empty-alert", "")
    },
    Script {
        fails: &[
            ("zero content type and padding during application data", ECHO),
            ("zero content type during application data", ECHO),
            ("zero content type during handshake", RUSTLS),
            ("zero content type with padding during handshake", RUSTLS),
        ],
        ..script("tls13-zero-content-type", "")
    },
    Script {
        fails: &[
            ("zero-length app data", ECHO),
            ("zero-length app data with large padding", ECHO),
            ("zero-length app data with padding", ECHO),
        ],
        ..script("tls13-zero-length-data", "")
    },
    Script {
        fails: &[("Unencrypted Finished message", RUSTLS)],
        ..script("tls13-finished-plaintext", "")
    },
    Script {
        fails: &[("key_share extension omitted", RUSTLS)],
        ..script("tls13-keyshare-omitted", "")
    },
    script("conversation", AEAD),
    script("fuzzed-ciphertext", AEAD),
    script("hello-request-by-client", AEAD),
    script("zero-length-data", AEAD),
    script("invalid-content-type", AEAD),
    script("early-application-data", AEAD),
    Script {
        fails: &[
            ("small, maximum fragmentation: 1 fragment - 20B extension", ECHO),
            ("medium, maximum fragmentation: 1 fragment - 1024B extension", ECHO),
            ("maximum size: max fragment - 65385B extension", RUSTLS),
            (
                "non fragmented, over fragmentation limit: 65535 fragment - 16332B extension",
                LENIENT,
            ),
        ],
        ..script("record-layer-fragmentation", AEAD)
    },
    Script {
        fails: &[
            ("try insecure (legacy) renegotiation with GET after 2nd CH", ECHO),
            ("try insecure (legacy) renegotiation with incomplete GET", ECHO),
            ("try secure renegotiation with GET after 2nd CH", ECHO),
            ("try secure renegotiation with incomplete GET", ECHO),
        ],
        ..script("renegotiation-disabled", AEAD)
    },
    script("interleaved-CKE-with-CCS", "-C TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
];

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let dir: Option<PathBuf> = args.value("--dir")?;
    let only: Option<String> = args.value("--only")?;
    args.finish()?;
    let dir = dir.ok_or(
        "give a checkout of tlsfuzzer: git clone https://github.com/tlsfuzzer/tlsfuzzer, \
         then --dir tlsfuzzer",
    )?;
    if !dir.join("tlsfuzzer/runner.py").is_file() {
        return Err(format!("{} is no checkout of tlsfuzzer", dir.display()));
    }
    setup::need("test")?;
    setup::need("tlsfuzzer")?;
    let home = paths::target()?.join("tlsfuzzer");
    std::fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    let python = environment(&home.join("venv"), &TLSLITE)?;
    let mut server = Server::start(&home)?;
    let (mut passed, mut failed) = (0, Vec::new());
    let chosen = |script: &&Script| only.as_ref().is_none_or(|only| only == script.name);
    for script in SCRIPTS.iter().filter(chosen) {
        match run_script(&python, &dir, server.port, script)? {
            true => passed += 1,
            false => failed.push(script.name),
        }
        if !server.is_up() {
            return Err(format!("the server ended during {}", script.name));
        }
    }
    println!("{passed} passed, {} failed", failed.len());
    match (passed, failed.is_empty()) {
        (0, true) => Err("no script ran".to_string()),
        (_, true) => Ok(()),
        (_, false) => Err(format!("failed: {}", failed.join(", "))),
    }
}

fn run_script(python: &Path, dir: &Path, port: u16, script: &Script) -> Outcome<bool> {
    let path = format!("scripts/test-{}.py", script.name);
    let mut job = Job::new(&python.display().to_string(), &[&path, "-h", "localhost"])
        .args(["-p".to_string(), port.to_string()])
        .args(words(script.words));
    for (conversation, why) in script.fails {
        println!("{}: expected to fail, since {why}: {conversation}", script.name);
        job = job.args(["-x", conversation]);
    }
    let ran =
        job.env("PYTHONPATH", dir.display()).cwd(dir).limit_s(SCRIPT_LIMIT_S).quiet().run()?;
    let counts = ran.lines.iter().filter(|line| {
        ["TOTAL", "PASS", "XFAIL", "FAIL", "XPASS"].iter().any(|count| line.starts_with(count))
    });
    println!("{}: {}", script.name, counts.cloned().collect::<Vec<_>>().join(", "));
    if !ran.ok {
        let end = ran.lines.len().saturating_sub(60);
        ran.lines[end..].iter().for_each(|line| println!("  {line}"));
    }
    Ok(ran.ok)
}

/// Splits at blanks, but for what single quotes hold together.
fn words(text: &str) -> Vec<String> {
    let quoted = text.split('\'').enumerate();
    quoted
        .flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().map(String::from).collect(),
            _ => vec![part.to_string()],
        })
        .collect()
}

/// The echo, with a certificate of RSA, which some scripts want.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(home: &Path) -> Outcome<Self> {
        let [cert, key] = ["rsa.pem", "rsa.key"].map(|name| home.join(name).display().to_string());
        let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"];
        let job = Job::new("openssl", &words).args(["-subj", "/CN=localhost"]);
        let job = job.args(["-addext", "subjectAltName=DNS:localhost"]);
        job.args(["-keyout", &key, "-out", &cert]).quiet().run()?.good()?;
        let words = ["build", "--package", "zero-io", "--features", "zero-io/tls-ktls"];
        let build = Job::cargo(&words).args(["--example", "tls_echo"]);
        build.limit_s(BUILD_LIMIT_S).run()?.good()?;
        let program = paths::target()?.join("debug/examples/tls_echo");
        let mut command = Command::new(&program);
        command.args(["127.0.0.1:0", &cert, &key]).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("{}: {e}", program.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        let port = line.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
        let mut this = Self { child, port: 0 };
        this.port = port.ok_or_else(|| format!("tls_echo says {line:?} instead of its address"))?;
        Ok(this)
    }

    fn is_up(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(words("-d -e 'a b, c' -n 2"), ["-d", "-e", "a b, c", "-n", "2"]);
        assert!(words("").is_empty());
    }

    #[test]
    fn every_script_is_there_once() {
        for (i, script) in SCRIPTS.iter().enumerate() {
            assert!(SCRIPTS[..i].iter().all(|other| other.name != script.name), "{}", script.name);
        }
    }
}
