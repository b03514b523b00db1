//! What TLS agrees on, and with whom.

use std::path::PathBuf;
use std::process::Command;

use rcgen::{CertificateParams, DnType, KeyPair};
use zero_io::{
    IoError, QuicConnectConfig, QuicListenConfig, Roots, TlsClientConfig, TlsConfigFault,
    TlsIdentity, TlsVersion, code,
};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER};

/// A certificate of somebody, which is its own root, and its key; in PEM.
fn somebody(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A directory that goes with it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("zero-io-quic-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn both_sides_know_what_was_agreed_on() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|_| ());
        let conn = net.dial(addr, |_| ());
        let none = Err(IoError::NotConnected { conn });
        assert_eq!(net.nodes[CLIENT].io.conn_tls_info(conn), none);
        let (conn, accepted) = net.connected(conn);
        let client = net.nodes[CLIENT].io.conn_tls_info(conn).unwrap();
        let server = net.nodes[SERVER].io.conn_tls_info(accepted).unwrap();
        for info in [&client, &server] {
            assert_eq!(info.version, TlsVersion::Tls13);
            assert_eq!(info.cipher_suite, "TLS_AES_256_GCM_SHA384");
            assert_eq!(info.key_exchange, Some("X25519MLKEM768"));
            assert_eq!(info.alpn.as_deref(), Some(&b"echo"[..]));
            assert_eq!(info.server_name.as_deref(), Some("localhost"));
            assert!(!info.resumed);
        }
        assert_eq!(client.peer.unwrap().chain().len(), 1);
        assert_eq!(server.peer, None);
        net.all_home();
    }
}

#[test]
fn any_suite_of_tls_13_will_do() {
    // Initial packets are under AES-128-GCM whatever there is: RFC 9001 §5.2.
    for suite in
        ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]
    {
        let mut net = Net::new(Backend::Uring);
        let tls = net.server_builder(&["echo"]).versions(TlsVersion::Tls13, TlsVersion::Tls13);
        let tls = tls.cipher_suites([suite]).build().unwrap();
        let addr = net.listen(|l| l.tls = tls);
        let conn = net.dial(addr, |_| ());
        let (conn, _) = net.connected(conn);
        assert_eq!(net.nodes[CLIENT].io.conn_tls_info(conn).unwrap().cipher_suite, suite);
        net.all_home();
    }
}

#[test]
fn without_tls_13_there_is_no_quic() {
    let mut net = Net::new(Backend::Uring);
    let addr: std::net::SocketAddr = "127.0.0.1:9".parse().unwrap();
    let none = IoError::TlsConfig { fault: TlsConfigFault::NoTls13, line: 0 };
    let tls = net.server_builder(&[]).versions(TlsVersion::Tls12, TlsVersion::Tls12);
    let config = QuicListenConfig::new(addr, tls.build().unwrap());
    assert_eq!(net.nodes[SERVER].io.quic_listen_with(config), Err(none));
    let tls = net.client_builder(&[]).versions(TlsVersion::Tls12, TlsVersion::Tls12);
    let config = QuicConnectConfig::new(addr, tls.build().unwrap());
    assert_eq!(net.nodes[CLIENT].io.quic_connect_with(config), Err(none));
}

#[test]
fn a_client_shows_its_certificate() {
    for backend in BOTH {
        for required in [true, false] {
            let mut net = Net::new(backend);
            let (cert, key) = somebody("client.example");
            let tls = net.server_builder(&["echo"]);
            let roots = Roots::from_pem_bytes(&cert);
            let tls = match required {
                true => tls.client_auth_required(roots),
                false => tls.client_auth_optional(roots),
            };
            let tls = tls.build().unwrap();
            let addr = net.listen(|l| l.tls = tls);
            let identity = TlsIdentity::from_pem_bytes(&cert, &key);
            let tls = net.client_builder(&["echo"]).identity(identity).build().unwrap();
            for resumed in [false, true] {
                let conn = net.dial(addr, |c| c.tls = tls.clone());
                let (conn, accepted) = net.connected(conn);
                let info = net.nodes[SERVER].io.conn_tls_info(accepted).unwrap();
                assert_eq!(info.resumed, resumed);
                assert_eq!(info.peer.unwrap().chain().len(), 1, "also of a session resumed");
                net.run_for(super::resume::SOON);
                super::resume::over(&mut net, conn);
            }
            net.all_home();
        }
    }
}

#[test]
fn a_client_without_one_is_let_in_where_that_is_optional() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (cert, _) = somebody("client.example");
        let tls = net.server_builder(&["echo"]);
        let tls = tls.client_auth_optional(Roots::from_pem_bytes(&cert)).build().unwrap();
        let addr = net.listen(|l| l.tls = tls);
        let conn = net.dial(addr, |_| ());
        let (_, accepted) = net.connected(conn);
        assert_eq!(net.nodes[SERVER].io.conn_tls_info(accepted).unwrap().peer, None);
        net.all_home();
    }
}

#[test]
fn a_client_that_shows_none_or_another_is_refused() {
    let certificate_required = 116;
    let unknown_ca = 48;
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (cert, _) = somebody("client.example");
        let tls = net.server_builder(&["echo"]);
        let tls = tls.client_auth_required(Roots::from_pem_bytes(&cert)).build().unwrap();
        let addr = net.listen(|l| l.tls = tls);
        let (cert, key) = somebody("other.example");
        let other = TlsIdentity::from_pem_bytes(&cert, &key);
        let other = net.client_builder(&["echo"]).identity(other).build().unwrap();
        let none = net.client_tls(&["echo"]);
        for (tls, alert) in [(none, certificate_required), (other, unknown_ca)] {
            let conn = net.dial(addr, |c| c.tls = tls);
            let (ended, _, clean) = net.end_of(CLIENT, conn);
            assert_eq!((ended, clean), (code::TLS_ALERT_RECEIVED + alert, false));
        }
        assert_eq!(net.nodes[SERVER].accepted(), 0);
        net.all_home();
    }
}

#[test]
fn the_next_handshake_shows_the_certificate_that_was_reloaded() {
    for backend in BOTH {
        let dir = Dir::new("reload");
        let mut net = Net::new(backend);
        let (endpoint, addr) = net.listen_at(SERVER, "127.0.0.1:0", |_| ());
        let conn = net.dial(addr, |_| ());
        let (conn, accepted) = net.connected(conn);
        let shown = |net: &mut Net, conn| {
            let info = net.nodes[CLIENT].io.conn_tls_info(conn).unwrap();
            info.peer.unwrap().certificate_sha256()
        };
        let before = shown(&mut net, conn);
        let reload = net.nodes[SERVER].io.enable_cert_hot_reload(endpoint).unwrap();
        let (cert, key) = somebody("localhost");
        let (cert_path, key_path) = (dir.write("cert.pem", &cert), dir.write("key.pem", &key));
        reload.reload_quic_from_pem(&cert_path, &key_path).unwrap();
        let refused = reload.reload_quic_from_pem(&cert_path, &cert_path);
        assert!(refused.is_err(), "and nothing is changed by it");
        let tls = TlsClientConfig::with_roots(Roots::from_pem_bytes(&cert));
        let tls = tls.server_name("localhost").alpn(["echo"]).build().unwrap();
        let next = net.dial(addr, |c| c.tls = tls);
        let (next, _) = net.connected(next);
        assert_ne!(shown(&mut net, next), before);
        // Who was there stays.
        assert!(net.nodes[SERVER].open.contains(&accepted));
        net.all_home();
    }
}

#[test]
fn only_listeners_reload() {
    let mut net = Net::new(Backend::Uring);
    let io = &mut net.nodes[SERVER].io;
    let udp = io.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = io.enable_cert_hot_reload(udp).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { what: "endpoint", .. }), "{error}");
}

const KEY_LOG: &str = "SSLKEYLOGFILE";
const KEY_LOG_MARK: &str = "ZERO_IO_QUIC_KEY_LOG_TEST";

/// The environment is the whole process's, so the connections are in a process of their own.
#[test]
fn secrets_are_logged_when_that_is_asked_for() {
    if std::env::var_os(KEY_LOG_MARK).is_some() {
        return logging();
    }
    let dir = Dir::new("keylog");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["tls::secrets_are_logged_when_that_is_asked_for", "--exact", "--test-threads=1"])
        .env(KEY_LOG_MARK, "1")
        .env(KEY_LOG, dir.0.join("keys.log"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

fn logging() {
    let path = std::env::var_os(KEY_LOG).unwrap();
    let mut net = Net::new(Backend::Uring);
    let addr = net.listen(|l| l.early_data = true);
    let conn = net.dial(addr, |_| ());
    net.connected(conn);
    assert!(std::fs::metadata(&path).is_err(), "nobody asked");
    let tls = net.client_builder(&["echo"]).key_log_file_from_env().build().unwrap();
    let kept = super::resume::ticket(&mut net, addr, &tls);
    let labels = |label: &str| {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().filter(|line| line.starts_with(label)).count()
    };
    let wanted = ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"];
    assert_eq!(wanted.map(labels), [1, 1]);
    let conn = net.dial(addr, |c| (c.tls, c.ticket, c.early_data) = (tls, Some(kept), true));
    net.nodes[CLIENT].io.early_data_send(conn, b"x").unwrap();
    net.connected(conn);
    assert_eq!(labels("CLIENT_EARLY_TRAFFIC_SECRET"), 1);
    net.all_home();
}
