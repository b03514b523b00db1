//! The example of QUIC, and aioquic as the client: handshakes, transfers, streams of both kinds,
//! datagrams, key updates, and a client that moves.

use std::process::Command;

use crate::{Example, PathBuf};

/// A Python with aioquic, where `cargo xtask test` puts it.
fn python() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.ancestors().nth(3).unwrap();
    let python = target.join("python/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run `cargo xtask test --only peers`",
        python.display()
    );
    python
}

fn aioquic(args: &[&str]) {
    let mut server =
        Example::start("quic_echo", &[&["127.0.0.1:0", "--alpn", "echo"], args].concat());
    let addr = server.place();
    let (_, port) = addr.rsplit_once(':').unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples/aioquic_client.py");
    let mut client = Command::new("timeout");
    let output = client.arg("120").arg(python()).args([script, port]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{wrong}");
    let cases = [
        "transfer",
        "multiplexing",
        "unidirectional",
        "datagram",
        "keyupdate",
        "connection id",
        "chacha20",
        "rebind-port",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), cases);
}

#[test]
fn quic_echo_and_aioquic() {
    aioquic(&[]);
}

#[test]
fn quic_echo_that_asks_for_a_retry_and_aioquic() {
    aioquic(&["--retry"]);
}
