//! What two ends agree on: versions, suites, groups, ALPN, and the certificate for a name.

use rustls::{AlertDescription, Error};

use super::super::{TlsInfo, TlsServerBuilder, TlsServerConfig, TlsVersion, UnknownName};
use super::world::{Authority, Issued, Pair, alert_of_server, client, good, shake};
use crate::config::tls::{KtlsReason, KtlsSide};

const NAME: &str = "a.example";

fn server(issued: &Issued) -> TlsServerBuilder {
    TlsServerConfig::with_identity(issued.identity())
}

fn info(pair: &Pair) -> TlsInfo {
    let of_client = TlsInfo::of(&pair.client, Some(NAME)).unwrap();
    let of_server = TlsInfo::of(&pair.server, pair.server.server_name()).unwrap();
    assert_eq!(of_client, TlsInfo { peer: of_client.peer.clone(), ..of_server });
    of_client
}

#[test]
fn what_was_agreed_is_told() {
    let root = Authority::new("root");
    let issued = root.issue(&[NAME]);
    let config = server(&issued).alpn(["h2", "http/1.1"]).build().unwrap();
    let client = client(&root).alpn(["http/1.1", "h2"]).build().unwrap();
    let agreed = info(&good(&client, &config, NAME));
    assert_eq!(agreed.version, TlsVersion::Tls13);
    assert_eq!(agreed.cipher_suite, "TLS_AES_256_GCM_SHA384");
    assert_eq!(agreed.key_exchange, Some("X25519MLKEM768"));
    // RFC 7301 §3.2: the server's preference.
    assert_eq!(agreed.alpn.as_deref(), Some(b"h2".as_slice()));
    assert_eq!(agreed.server_name.as_deref(), Some(NAME));
    assert!(!agreed.resumed);
    assert_eq!(agreed.kernel.tx, KtlsSide::UserSpace(KtlsReason::NotCompiled));
    assert_eq!(agreed.kernel.rx, KtlsSide::UserSpace(KtlsReason::NotCompiled));
    let begun = Pair::new(&client, &config, NAME);
    assert_eq!(TlsInfo::of(&begun.client, None), None);
}

#[test]
fn versions_suites_and_groups() {
    use TlsVersion::{Tls12, Tls13};
    let root = Authority::new("root");
    let issued = root.issue(&[NAME]);
    let any = client(&root).build().unwrap();
    for (lowest, highest, expected) in
        [(Tls12, Tls12, Tls12), (Tls13, Tls13, Tls13), (Tls12, Tls13, Tls13)]
    {
        let config = server(&issued).versions(lowest, highest).build().unwrap();
        assert_eq!(info(&good(&any, &config, NAME)).version, expected);
    }
    let old = client(&root).versions(Tls12, Tls12).build().unwrap();
    let new = server(&issued).versions(Tls13, Tls13).build().unwrap();
    assert_eq!(alert_of_server(&old, &new, NAME), AlertDescription::ProtocolVersion);
    let suites = [
        (Tls13, "TLS_AES_128_GCM_SHA256"),
        (Tls13, "TLS_CHACHA20_POLY1305_SHA256"),
        (Tls12, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        (Tls12, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ];
    for (version, suite) in suites {
        let config = server(&issued).versions(version, version).cipher_suites([suite]);
        let agreed = info(&good(&any, &config.build().unwrap(), NAME));
        assert_eq!((agreed.version, agreed.cipher_suite), (version, suite));
    }
    for group in ["x25519", "secp256r1", "secp384r1", "X25519MLKEM768"] {
        let config = server(&issued).versions(Tls13, Tls13).key_exchange([group.to_lowercase()]);
        let agreed = info(&good(&any, &config.build().unwrap(), NAME));
        assert_eq!(agreed.key_exchange, Some(group));
    }
}

#[test]
fn no_protocol_in_common() {
    let root = Authority::new("root");
    let issued = root.issue(&[NAME]);
    let both = server(&issued).alpn(["h2"]).build().unwrap();
    let silent = server(&issued).build().unwrap();
    let other = client(&root).alpn(["smtp"]).build().unwrap();
    let none = client(&root).build().unwrap();
    // RFC 7301 §3.2: "SHALL respond with a fatal 'no_application_protocol' alert".
    let alert = alert_of_server(&other, &both, NAME);
    assert_eq!(alert, AlertDescription::NoApplicationProtocol);
    // One side that does not use ALPN is no conflict.
    assert_eq!(info(&good(&none, &both, NAME)).alpn, None);
    assert_eq!(info(&good(&other, &silent, NAME)).alpn, None);
}

#[test]
fn the_certificate_for_a_name() {
    let root = Authority::new("root");
    let default = root.issue(&["default.example", NAME]);
    let exact = root.issue(&["x.w.example"]);
    let wildcard = root.issue(&["*.w.example"]);
    let make = || {
        server(&default)
            .server_name("X.w.example", exact.identity())
            .server_name("*.W.example", wildcard.identity())
    };
    let client = client(&root).danger().skip_name_check().build().unwrap();
    let rows = [
        ("x.w.example", &exact),
        ("X.W.Example", &exact),
        ("y.w.example", &wildcard),
        ("w.example", &default),
        ("z.y.w.example", &default),
        (NAME, &default),
        ("127.0.0.1", &default),
    ];
    let lenient = make().build().unwrap();
    for (name, expected) in rows {
        assert_eq!(good(&client, &lenient, name).shown(), Some(expected.leaf()), "{name}");
    }
    let strict = make().unknown_names(UnknownName::Refuse).build().unwrap();
    for name in ["w.example", "z.y.w.example", "b.example"] {
        let alert = alert_of_server(&client, &strict, name);
        assert_eq!(alert, AlertDescription::AccessDenied, "{name}");
    }
    // What the default certificate is for is known, and so is who asks for no name.
    for (name, expected) in [
        (NAME, &default),
        ("default.example", &default),
        ("127.0.0.1", &default),
        ("x.w.example", &exact),
        ("y.w.example", &wildcard),
    ] {
        assert_eq!(good(&client, &strict, name).shown(), Some(expected.leaf()), "{name}");
    }
}

#[test]
fn without_sni_the_name_is_not_sent_and_still_checked() {
    let root = Authority::new("root");
    let issued = root.issue(&[NAME]);
    let config = server(&issued).build().unwrap();
    let silent = client(&root).sni(false).build().unwrap();
    assert_eq!(good(&silent, &config, NAME).server.server_name(), None);
    assert!(shake(&silent, &config, "b.example").errors.0.is_some());
    let speaking = client(&root).build().unwrap();
    assert_eq!(good(&speaking, &config, NAME).server.server_name(), Some(NAME));
}

#[test]
fn records_are_as_long_as_configured() {
    use std::io::Write as _;
    let root = Authority::new("root");
    let issued = root.issue(&[NAME]);
    let client = client(&root).build().unwrap();
    for len in [512, 1000, 16_384] {
        let config = server(&issued).max_record_size(len).build().unwrap();
        assert_eq!(config.max_record_size(), len);
        let mut pair = good(&client, &config, NAME);
        pair.server.writer().write_all(&[7; 20_000]).unwrap();
        let mut wire = Vec::new();
        pair.server.write_tls(&mut wire).unwrap();
        // RFC 8446 §5.2: 16 bytes of tag and one of content type.
        assert_eq!(usize::from(u16::from_be_bytes([wire[3], wire[4]])), len + 17);
    }
}

#[test]
fn secrets_can_be_taken_over_on_both_sides() {
    let root = Authority::new("root");
    let config = server(&root.issue(&[NAME])).build().unwrap();
    let pair = good(&client(&root).build().unwrap(), &config, NAME);
    assert!(pair.client.dangerous_extract_secrets().is_ok());
    assert!(pair.server.dangerous_extract_secrets().is_ok());
}

#[test]
fn early_data_is_off() {
    let root = Authority::new("root");
    let config = server(&root.issue(&[NAME])).build().unwrap();
    assert_eq!(config.rustls().max_early_data_size, 0);
    assert!(!client(&root).build().unwrap().rustls().enable_early_data);
}

#[test]
fn a_hello_that_is_none_is_an_alert() {
    let root = Authority::new("root");
    let config = server(&root.issue(&[NAME])).build().unwrap();
    let mut pair = Pair::new(&client(&root).build().unwrap(), &config, NAME);
    pair.server.read_tls(&mut b"GET / HTTP/1.1\r\n\r\n".as_slice()).unwrap();
    assert!(matches!(pair.server.process_new_packets(), Err(Error::InvalidMessage(_))));
}
