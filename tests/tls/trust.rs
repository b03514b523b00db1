//! Whom each side believes: certificates, names, client certificates, ALPN. Both ends say why not.

use zero_io::{ConnId, TlsClientBuilder, TlsInfo, TlsServerBuilder, TlsVersion, UnknownName, code};

use super::certs::{Authority, Issued, World};
use super::common::{Seen, Shard};
use super::kit::{alert, listen};
use super::peers::{close_pair, s_server};
use super::process::Program;

/// How a handshake between two of ours ended.
struct Refusal {
    client: u64,
    server: u64,
}

/// Shakes hands with ourselves in both versions; both ends must end with these alerts.
#[track_caller]
fn refused(server: &TlsServerBuilder, client: &TlsClientBuilder, wanted: &Refusal) {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let mut shard = Shard::new();
        let tls = server.clone().versions(version, version).build().unwrap();
        let (_, addr) = listen(&mut shard, tls);
        let tls = client.clone().versions(version, version).build().unwrap();
        let conn = shard.io.tls_connect(("localhost", addr.port()), tls).unwrap();
        let mut ends: Vec<(bool, u64, bool)> = Vec::new();
        shard.until("both ends to end", |shard| {
            ends = shard.seen.iter().filter_map(|seen| end_of(seen, conn)).collect();
            ends.len() == 2
        });
        ends.sort_by_key(|end| !end.0);
        let got = (ends[0].1, ends[1].1);
        assert_eq!(got, (wanted.client, wanted.server), "{version:?}: {got:x?}");
        assert!(!ends[0].2 && !ends[1].2, "a refusal is not clean");
        // With 1.3 a client is done before the server has looked at its certificate.
        let connected = shard.count(|seen| matches!(seen, Seen::Connected { .. }));
        assert!(connected <= 1, "{connected} connections were announced");
        let by_server = code::tls_alert(wanted.server).is_some_and(|_| sent(wanted.server));
        assert!(connected == 0 || by_server && version == TlsVersion::Tls13);
        shard.finish();
    }
}

const fn sent(code: u64) -> bool {
    code & !0xFF == code::TLS_ALERT_SENT
}

fn end_of(seen: &Seen, client: ConnId) -> Option<(bool, u64, bool)> {
    match seen {
        Seen::Disconnected { conn, code, clean, reason } => {
            assert!(reason.starts_with("TLS alert "), "{reason}");
            Some((*conn == client, *code, *clean))
        }
        _ => None,
    }
}

const fn by_client(alert: u64) -> Refusal {
    Refusal { client: code::TLS_ALERT_SENT | alert, server: code::TLS_ALERT_RECEIVED | alert }
}

const fn by_server(alert: u64) -> Refusal {
    Refusal { client: code::TLS_ALERT_RECEIVED | alert, server: code::TLS_ALERT_SENT | alert }
}

/// Shakes hands with ourselves; what both ends say of it.
#[track_caller]
fn agreed(server: &TlsServerBuilder, client: &TlsClientBuilder) -> (TlsInfo, TlsInfo) {
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, server.clone().build().unwrap());
    let tls = client.clone().build().unwrap();
    let conn = shard.io.tls_connect(("localhost", addr.port()), tls).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    assert_eq!(shard.wait_connected(None), conn);
    let info = |shard: &mut Shard, conn| shard.io.conn_tls_info(conn).unwrap();
    let infos = (info(&mut shard, conn), info(&mut shard, served));
    close_pair(&mut shard, conn, served);
    shard.finish();
    infos
}

// ---- servers that are not believed

#[test]
fn a_certificate_for_another_name_is_refused() {
    let ca = Authority::new("ca");
    let wanted = by_client(alert::BAD_CERTIFICATE);
    refused(&ca.issue(&["elsewhere.test"]).server(), &ca.client(), &wanted);
    let other = ca.client().server_name("elsewhere.test");
    refused(&ca.issue(&["localhost"]).server(), &other, &wanted);
}

#[test]
fn an_expired_certificate_is_refused() {
    let ca = Authority::new("ca");
    let expired = ca.issue_expired(&["localhost"]).identity().allow_expired();
    let server = zero_io::TlsServerConfig::with_identity(expired);
    refused(&server, &ca.client(), &by_client(alert::CERTIFICATE_EXPIRED));
}

#[test]
fn a_self_signed_certificate_and_an_unknown_authority_are_refused() {
    let (ca, other) = (Authority::new("ca"), Authority::new("another"));
    let wanted = by_client(alert::UNKNOWN_CA);
    refused(&Issued::self_signed(&["localhost"]).server(), &ca.client(), &wanted);
    refused(&other.issue(&["localhost"]).server(), &ca.client(), &wanted);
}

#[test]
fn a_self_signed_certificate_is_believed_by_its_pin() {
    let issued = Issued::self_signed(&["localhost"]);
    let pins = zero_io::Pins::new().certificate_der(&issued.cert_der);
    let (client, _) = agreed(&issued.server(), &zero_io::TlsClientConfig::with_pins(pins));
    assert_eq!(client.peer.unwrap().certificate(), issued.cert_der);
}

// ---- client certificates

#[test]
fn client_certificates_are_required_or_asked_for() {
    let (ca, users) = (Authority::new("ca"), Authority::new("users"));
    let user = users.issue(&["a.user"]);
    let plain = ca.issue(&["localhost"]).server();
    let required = plain.clone().client_auth_required(users.roots());
    let optional = plain.client_auth_optional(users.roots());
    for server in [&required, &optional] {
        let (_, at_server) = agreed(server, &ca.client().identity(user.identity()));
        let peer = at_server.peer.expect("the user's certificate");
        assert_eq!(peer.certificate(), user.cert_der);
        assert_eq!(peer.chain().len(), 1);
    }
    let (_, at_server) = agreed(&optional, &ca.client());
    assert_eq!(at_server.peer, None);
    let impostor = Authority::new("others").issue(&["a.user"]);
    let with_other = ca.client().identity(impostor.identity());
    for server in [&required, &optional] {
        refused(server, &with_other, &by_server(alert::UNKNOWN_CA));
    }
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let (ca, users) = (Authority::new("ca"), Authority::new("users"));
    let required = ca.issue(&["localhost"]).server().client_auth_required(users.roots());
    refused(&required, &ca.client(), &by_server(alert::CERTIFICATE_REQUIRED));
}

#[test]
fn openssl_shows_its_certificate_or_is_refused() {
    let world = World::new();
    let users = Authority::new("users");
    let user = users.issue(&["a.user"]);
    world.dir.write_pair("user", &user);
    world.dir.write_pair("other", &Authority::new("others").issue(&["a.user"]));
    let mut shard = Shard::new();
    let tls = world.server.server().client_auth_required(users.roots()).build().unwrap();
    let (endpoint, addr) = listen(&mut shard, tls);
    let run = |name: Option<&str>, version: &str| {
        let (addr, ca) = (addr.to_string(), world.dir.path("ca.pem"));
        let pair = name
            .map(|n| (world.dir.path(&format!("{n}.pem")), world.dir.path(&format!("{n}.key"))));
        let mut args = vec!["s_client", "-connect", &addr, "-CAfile", &ca, version];
        if let Some((cert, key)) = &pair {
            args.extend(["-cert", cert, "-key", key]);
        }
        Program::start("openssl", &args)
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let program = run(Some("user"), version);
        let conn = shard.wait_connected(Some(endpoint));
        let peer = shard.io.conn_tls_info(conn).unwrap().peer.expect("its certificate");
        assert_eq!(peer.certificate(), user.cert_der);
        super::kit::close_in_order(&mut shard, conn);
        drop(program);
        for (name, alert, words) in [
            (None, alert::CERTIFICATE_REQUIRED, ["certificate required", "alert number 116"]),
            (Some("other"), alert::UNKNOWN_CA, ["unknown ca", "alert number 48"]),
        ] {
            let program = run(name, version);
            let (_, code, _) = super::kit::wait_any_end(&mut shard);
            assert_eq!(code, code::TLS_ALERT_SENT | alert);
            // What the alert says reaches it, and no reset instead.
            let (_, out) = program.end_with(&mut shard);
            let out = String::from_utf8_lossy(&out);
            assert!(words.iter().any(|word| out.contains(word)), "{out}");
        }
    }
    shard.finish();
}

#[test]
fn openssl_s_server_asks_for_our_certificate() {
    let world = World::new();
    let user = world.ca.issue(&["a.user"]);
    let ca = world.dir.path("ca.pem");
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let more = ["-Verify", "2", "-CAfile", &ca, "-verify_return_error", "-rev"];
        let (program, addr) = s_server(&world, &more);
        let mut shard = Shard::new();
        let client = world.ca.client().versions(version, version);
        let tls = client.clone().identity(user.identity()).build().unwrap();
        let conn = shard.io.tls_connect(addr, tls).unwrap();
        shard.wait_connected(None);
        shard.write_all(conn, b"abc\n");
        assert_eq!(shard.wait_bytes(conn, 4), b"cba\n");
        // What it says may come later than what it answers.
        program.expect_with(&mut shard, "a.user");
        shard.io.close(conn).unwrap();
        shard.wait_end(conn);
        // And without one.
        let conn = shard.io.tls_connect(addr, client.build().unwrap()).unwrap();
        let (code, clean) = shard.wait_end(conn);
        let wanted = match version {
            TlsVersion::Tls12 => alert::HANDSHAKE_FAILURE,
            _ => alert::CERTIFICATE_REQUIRED,
        };
        assert_eq!((code, clean), (code::TLS_ALERT_RECEIVED | wanted, false));
        shard.finish();
    }
}

// ---- names that are asked for

#[test]
fn the_table_of_names_decides_on_the_certificate() {
    let ca = Authority::new("ca");
    let [default, exact, wild] =
        ["localhost", "www.example.test", "*.example.test"].map(|name| ca.issue(&[name]));
    let server = default
        .server()
        .server_name("www.example.test", exact.identity())
        .server_name("*.example.test", wild.identity());
    for (name, issued) in [
        ("localhost", &default),
        ("www.example.test", &exact),
        ("WWW.example.test", &exact),
        ("mail.example.test", &wild),
    ] {
        let (client, at_server) = agreed(&server, &ca.client().server_name(name));
        assert!(client.peer.unwrap().certificate() == issued.cert_der, "{name}");
        let asked = at_server.server_name.expect("a name");
        assert!(asked.eq_ignore_ascii_case(name), "{asked}");
    }
    // An unknown one gets the default certificate, and the client sees that it is another's.
    let lost = ca.client().server_name("a.b.example.test");
    refused(&server, &lost, &by_client(alert::BAD_CERTIFICATE));
    let strict = server.unknown_names(UnknownName::Refuse);
    refused(&strict, &lost, &by_server(alert::ACCESS_DENIED));
    let (_, at_server) = agreed(&strict, &ca.client().server_name("localhost").sni(false));
    assert_eq!(at_server.server_name, None);
}

// ---- ALPN, versions

#[test]
fn alpn_is_agreed_on_or_refused() {
    let ca = Authority::new("ca");
    let server = ca.issue(&["localhost"]).server();
    let (client, at_server) =
        agreed(&server.clone().alpn(["h2", "http/1.1"]), &ca.client().alpn(["http/1.1", "h2"]));
    // The server's order.
    assert_eq!(client.alpn.as_deref(), Some(&b"h2"[..]));
    assert_eq!(at_server.alpn, client.alpn);
    let (client, at_server) = agreed(&server, &ca.client().alpn(["h2"]));
    assert_eq!((client.alpn, at_server.alpn), (None, None));
    let (server, client) = (server.alpn(["imap"]), ca.client().alpn(["h2"]));
    refused(&server, &client, &by_server(alert::NO_APPLICATION_PROTOCOL));
}

#[test]
fn versions_without_overlap_are_refused() {
    let ca = Authority::new("ca");
    let mut shard = Shard::new();
    let server = ca.issue(&["localhost"]).server().versions(TlsVersion::Tls13, TlsVersion::Tls13);
    let (_, addr) = listen(&mut shard, server.build().unwrap());
    let tls = ca.client().versions(TlsVersion::Tls12, TlsVersion::Tls12).build().unwrap();
    let conn = shard.io.tls_connect(("localhost", addr.port()), tls).unwrap();
    assert_eq!(shard.wait_end(conn).0, code::TLS_ALERT_RECEIVED | alert::PROTOCOL_VERSION);
    let (_, code, _) = super::kit::wait_any_end(&mut shard);
    assert_eq!(code, code::TLS_ALERT_SENT | alert::PROTOCOL_VERSION);
    shard.finish();
}
