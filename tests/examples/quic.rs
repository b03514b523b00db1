//! The example of QUIC, and aioquic as the client: handshakes, transfers, streams of both kinds,
//! datagrams, key updates, a client that moves, and one that comes again.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::{Example, pattern, program};

/// What `quic_client` prints when it is given that.
pub(crate) fn ask(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut client = program("quic_client");
    client.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = client.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut output = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    });
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    output
}

#[test]
fn quic_client_and_quic_echo() {
    let mut server = Example::start("quic_echo", &["127.0.0.1:0"]);
    let addr = server.place();
    for len in [0, 1, 5_000_000] {
        let data = pattern(len);
        assert!(ask(&[&addr], &data) == data, "{len} bytes came back changed");
    }
}

#[test]
fn quic_client_believes_the_roots_it_is_given() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |what: &str, text: String| {
        let path = std::env::temp_dir();
        let path = path.join(format!("zero-io-quic-{}-{what}.pem", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cert = file("cert", made.cert.pem());
    let key = file("key", made.signing_key.serialize_pem());
    let args = ["127.0.0.1:0", "--alpn", "echo", "--cert", &cert, "--key", &key];
    let mut server = Example::start("quic_echo", &args);
    let addr = server.place();
    let trust = [&addr, "--alpn", "echo", "--name", "localhost", "--ca", &cert];
    assert_eq!(ask(&trust, b"trusted"), b"trusted");
    for wrong in [
        // Another name than the certificate's, and no ALPN where the server insists on one.
        vec![addr.as_str(), "--alpn", "echo", "--name", "example.org", "--ca", &cert],
        vec![addr.as_str(), "--name", "localhost", "--ca", &cert],
    ] {
        let output = program("quic_client").args(&wrong).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("disconnected"), "{said}");
    }
    std::fs::remove_file(cert).unwrap();
    std::fs::remove_file(key).unwrap();
}

#[test]
fn quic_perf() {
    let mut server = Example::start("quic_perf", &["127.0.0.1:0"]);
    let addr = server.place();
    for kind in ["bulk", "requests", "handshakes", "datagrams"] {
        let args = ["--client", addr.as_str(), kind, "--secs", "0.5"];
        let said = Example::start("quic_perf", &args).finish();
        let rate: f64 = said.split_whitespace().next().unwrap_or_default().parse().unwrap();
        assert!(rate > 0.0, "{kind}: {said}");
    }
    // What does not ask for a download is echoed, by the rest of its bytes too.
    let data = [&pattern(100_000)[..], b"B"].concat();
    assert!(ask(&[&addr, "--alpn", "h3"], &data) == data);
}
