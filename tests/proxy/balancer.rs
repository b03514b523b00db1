//! haproxy with the configuration that docs/CLUSTER.md shows.
//!
//! It must be installed: `cargo xtask setup test`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::certs::Dir;
use crate::common::{PATIENCE, localhost};

const DOCUMENT: &str = include_str!("../../docs/CLUSTER.md");

/// The configuration in the document.
fn documented() -> &'static str {
    let (_, behind) = DOCUMENT.split_once("```haproxy\n").expect("a block of haproxy");
    let (config, behind) = behind.split_once("```").expect("its end");
    assert!(!behind.contains("```haproxy"), "which of them is it?");
    config
}

fn free_port() -> u16 {
    TcpListener::bind(localhost()).unwrap().local_addr().unwrap().port()
}

pub(crate) struct Haproxy {
    child: Child,
    dir: Dir,
    /// Where it takes HTTP.
    pub(crate) web: SocketAddr,
    /// Where it takes what it passes through.
    pub(crate) tls: SocketAddr,
}

impl Haproxy {
    /// Before a server that has HTTP at one address and TLS at another. With a header of version 1,
    /// or 2 as documented.
    ///
    /// # Panics
    /// When it is not installed, or the document does not say what is to be replaced.
    pub(crate) fn start(version: u8, http: SocketAddr, tls: SocketAddr) -> Self {
        let dir = Dir::new();
        let (web_port, tls_port) = (free_port(), free_port());
        let mut config = documented().to_owned();
        let mut put = |from: &str, to: &str| {
            assert!(config.contains(from), "docs/CLUSTER.md has no `{from}` any more");
            config = config.replace(from, to);
        };
        put("/run/haproxy/admin.sock", &dir.path("admin.sock"));
        put("bind :80\n", &format!("bind 127.0.0.1:{web_port}\n"));
        put("bind :443\n", &format!("bind 127.0.0.1:{tls_port}\n"));
        put("10.0.0.11:8080", &http.to_string());
        put("10.0.0.11:8443", &tls.to_string());
        put(" inter 2s fall 3 ", " inter 100ms fall 3 ");
        // There is one server here.
        for line in ["    server two 10.0.0.12:8080", "    server two 10.0.0.12:8443"] {
            let at = config.find(line).expect("a second server");
            let end = config[at..].find('\n').expect("its end");
            config.replace_range(at..=at + end, "");
        }
        if version == 1 {
            let of_2 = " send-proxy-v2 proxy-v2-options crc32c,unique-id ";
            assert!(config.contains(of_2));
            config = config.replace(of_2, " send-proxy ");
        }
        dir.write("haproxy.cfg", &config);
        let child = Command::new("haproxy")
            .args(["-db", "-f", &dir.path("haproxy.cfg")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path("log")).unwrap())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("haproxy does not start: {e}; run `cargo xtask setup test`")
            });
        let [web, tls] = [web_port, tls_port].map(|port| ([127, 0, 0, 1], port).into());
        let mut started = Self { child, dir, web, tls };
        started.wait_until("UP,L7OK");
        started
    }

    /// Waits until it thinks so of its server of HTTP, and has the other one follow.
    pub(crate) fn wait_until(&mut self, state: &str) {
        let end = Instant::now() + PATIENCE;
        let short = state.split(',').next().unwrap_or_default();
        loop {
            let ended = self.child.try_wait().unwrap();
            let log = std::fs::read_to_string(self.dir.path("log")).unwrap();
            let states = self.states();
            let is = |line: String| states.lines().any(|l| l.starts_with(&line));
            if is(format!("web,one,{state}")) && is(format!("tls,one,{short}")) {
                return;
            }
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}\n{log}\n{states}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its statistics.
    fn states(&self) -> String {
        let mut answer = String::new();
        if let Ok(mut admin) = UnixStream::connect(self.dir.path("admin.sock")) {
            let _ = admin.write_all(b"show stat\n");
            let _ = admin.read_to_string(&mut answer);
        }
        answer.lines().map(condensed).collect()
    }
}

/// Backend, server, state and the result of its last check.
fn condensed(line: &str) -> String {
    let words: Vec<&str> = line.split(',').collect();
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    format!("{},{},{},{}\n", word(0), word(1), word(17), word(36))
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
