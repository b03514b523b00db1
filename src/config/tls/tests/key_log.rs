//! The key log is written when it was asked for, and then only.

use std::process::Command;

use super::super::TlsServerConfig;
use super::world::{Authority, Dir, client, good};

const VARIABLE: &str = "SSLKEYLOGFILE";
const MARK: &str = "ZERO_IO_KEY_LOG_TEST";
const NAME: &str = "config::tls::tests::key_log::only_when_asked_for";

/// The environment is the whole process's, so the handshakes are in a process of their own.
#[test]
fn only_when_asked_for() {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let dir = Dir::new();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .env(VARIABLE, dir.path("keys.log"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

fn body() {
    let root = Authority::new("root");
    let issued = root.issue(&["a.example"]);
    let make = || TlsServerConfig::with_identity(issued.identity());
    let path = std::env::var_os(VARIABLE).unwrap();
    good(&client(&root).build().unwrap(), &make().build().unwrap(), "a.example");
    assert!(std::fs::metadata(&path).is_err(), "nobody asked");
    let server = make().key_log_file_from_env().build().unwrap();
    good(&client(&root).build().unwrap(), &server, "a.example");
    let text = std::fs::read_to_string(&path).unwrap();
    for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"] {
        assert_eq!(text.matches(label).count(), 1, "{label}: {text}");
    }
    let logging = client(&root).key_log_file_from_env().build().unwrap();
    good(&logging, &make().build().unwrap(), "a.example");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches("SERVER_TRAFFIC_SECRET_0").count(), 2);
}
