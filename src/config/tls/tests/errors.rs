//! Every refusal: its reason, its file, its line. The same table goes through `build()` and through
//! reloading, which must leave the old certificate in force.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::super::{
    Pins, Roots, TlsClientBuilder, TlsClientConfig, TlsIdentity, TlsServerBuilder, TlsServerConfig,
    TlsVersion,
};
use super::world::{Authority, Dir, Issued, client, good};
use crate::config::HostOrAddr;
use crate::error::{Errno, IoError, TlsConfigFault as Fault};

/// A pair of files, what is wrong with them, and where: in the chain or in the key.
struct Row {
    what: &'static str,
    chain: Vec<u8>,
    key: Vec<u8>,
    fault: Fault,
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    Chain(u32),
    Key(u32),
}

/// The line on which the `n`-th block (from 1) of a text begins.
fn block_line(text: &str, n: usize) -> u32 {
    let mut lines = text.lines().enumerate().filter(|(_, line)| line.starts_with("-----BEGIN"));
    lines.nth(n - 1).unwrap().0 as u32 + 1
}

/// A block of that label with a body that is base64 of nothing sensible.
fn block(label: &str) -> String {
    format!("-----BEGIN {label}-----\nTm90IGEga2V5\n-----END {label}-----\n")
}

fn chain_rows(root: &Authority, middle: &Authority, good: &Issued) -> Vec<Row> {
    let key = good.key_pem.clone().into_bytes();
    let leaf = &good.chain_pem;
    let chain = format!("a comment\n{leaf}{}", middle.0.pem());
    let reversed = format!("{}{leaf}", middle.0.pem());
    let foreign = format!("{leaf}{}", Authority::new("foreign").0.pem());
    let long = format!("{leaf}{}", middle.0.pem().repeat(16));
    let second = block_line(&chain, 2);
    let mut bad_base64: Vec<_> = chain.lines().map(String::from).collect();
    bad_base64[second as usize + 2].replace_range(3..4, "*");
    let cut = chain.rsplit_once("-----END").unwrap().0.to_owned();
    let garbage = format!("{leaf}{}", block("CERTIFICATE"));
    let year = |year| rcgen::date_time_ymd(year, 1, 1);
    let expired = middle.issue_with(&["a.example"], |p| p.not_after = year(2001));
    let early = middle.issue_with(&["a.example"], |p| p.not_before = year(4000));
    let row = |what, chain: &str, fault, at| Row {
        what,
        chain: chain.into(),
        key: key.clone(),
        fault,
        at,
    };
    use At::Chain;
    vec![
        row("empty", "", Fault::NoCertificate, Chain(0)),
        row("no blocks", "hello\n", Fault::NoCertificate, Chain(0)),
        row("a key", &good.key_pem, Fault::NoCertificate, Chain(0)),
        row("base64", &bad_base64.join("\n"), Fault::BadBase64, Chain(second + 3)),
        row("cut", &cut, Fault::BadPem, Chain(second)),
        row("garbage", &garbage, Fault::BadCertificate, Chain(block_line(&garbage, 2))),
        row("reversed", &reversed, Fault::ChainOrder, Chain(block_line(&reversed, 2))),
        row("foreign", &foreign, Fault::ChainOrder, Chain(block_line(&foreign, 2))),
        row("only the issuer", &root.0.pem(), Fault::KeyMismatch, At::Key(1)),
        row("too many", &long, Fault::ChainOrder, Chain(block_line(&long, 17))),
        Row {
            key: expired.key_pem.clone().into(),
            ..row("expired", &expired.chain_pem, Fault::CertificateExpired, Chain(1))
        },
        Row {
            key: early.key_pem.clone().into(),
            ..row("early", &early.chain_pem, Fault::CertificateNotYetValid, Chain(1))
        },
        Row { chain: good.chain_der[0].clone(), ..row("DER", "", Fault::NoCertificate, Chain(0)) },
        Row {
            chain: vec![b'\n'; (4 << 20) + 1],
            ..row("too long", "", Fault::FileTooLong, Chain(0))
        },
    ]
}

fn key_rows(good: &Issued, other: &Issued) -> Vec<Row> {
    let row = |what, key: &str, fault, line| Row {
        what,
        chain: good.chain_pem.clone().into(),
        key: key.into(),
        fault,
        at: At::Key(line),
    };
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: \
                  AES-256-CBC,00\n\nTm90IGEga2V5\n-----END RSA PRIVATE KEY-----\n";
    let both = format!("x\n{}{}", good.key_pem, other.key_pem);
    let encrypted = format!("{}{}", block("PARAMETERS"), block("ENCRYPTED PRIVATE KEY"));
    vec![
        row("empty", "", Fault::NoPrivateKey, 0),
        row("a certificate", &good.chain_pem, Fault::NoPrivateKey, 0),
        row("another's", &other.key_pem, Fault::KeyMismatch, 1),
        row("two keys", &both, Fault::SeveralPrivateKeys, block_line(&both, 2)),
        row("encrypted", &encrypted, Fault::EncryptedKey, 4),
        row("encrypted of old", legacy, Fault::EncryptedKey, 1),
        row("garbage", &block("PRIVATE KEY"), Fault::UnsupportedKey, 1),
        row("garbage, PKCS#1", &block("RSA PRIVATE KEY"), Fault::UnsupportedKey, 1),
        row("garbage, SEC1", &block("EC PRIVATE KEY"), Fault::UnsupportedKey, 1),
        row("DSA", &block("DSA PRIVATE KEY"), Fault::UnsupportedKey, 1),
        row("OpenSSH", &block("OPENSSH PRIVATE KEY"), Fault::UnsupportedKey, 1),
        row("no end", "\n-----BEGIN PRIVATE KEY-----\nAAAA\n", Fault::BadPem, 2),
        row("base64", "-----BEGIN PRIVATE KEY-----\nA&AA\n", Fault::BadBase64, 2),
    ]
}

#[test]
fn every_fault_of_files_has_its_file_and_line() {
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let issued = middle.issue(&["a.example"]);
    let dir = Dir::new();
    let chain = format!("{}{}", issued.chain_pem, middle.0.pem());
    let server = TlsServerConfig::from_pem_bytes(chain, &issued.key_pem).build().unwrap();
    let handle = server.reload_handle();
    let other = middle.issue(&["a.example"]);
    let mut rows = chain_rows(&root, &middle, &issued);
    rows.extend(key_rows(&issued, &other));
    for Row { what, chain, key, fault, at } in rows {
        let chain_path = dir.write("chain.pem", &chain);
        let key_path = dir.write("key.pem", &key);
        let (file, line) = match at {
            At::Chain(line) => (&chain_path, line),
            At::Key(line) => (&key_path, line),
        };
        let built = TlsServerConfig::from_pem(&chain_path, &key_path).build().unwrap_err();
        let reloaded = handle.reload_from_pem(&chain_path, &key_path).unwrap_err();
        assert_eq!(built, reloaded, "{what}");
        assert_eq!((built.fault(), built.file()), (fault, Some(file.as_path())), "{what}: {built}");
        assert_eq!(built.line(), Some(line).filter(|&line| line > 0), "{what}: {built}");
        let mut place = file.display().to_string();
        if line > 0 {
            write!(place, ":{line}").unwrap();
        }
        assert!(built.to_string().starts_with(&format!("{place}: ")), "{built}");
        let from_bytes = handle.reload_from_bytes(&chain, &key).unwrap_err();
        assert_eq!((from_bytes.fault(), from_bytes.line()), (fault, built.line()), "{what}");
        assert_eq!(from_bytes.file(), None);
        // What was in force still is.
        let pair = good(&client(&root).build().unwrap(), &server, "a.example");
        assert_eq!(pair.shown(), Some(issued.leaf()), "{what}");
    }
}

#[test]
fn files_that_cannot_be_read() {
    let issued = Issued::self_signed(&["a.example"]);
    let dir = Dir::new();
    let (chain, key) = (dir.write("c", &issued.chain_pem), dir.write("k", &issued.key_pem));
    let absent = dir.path("absent");
    let folder = dir.as_ref().to_owned();
    let rows: [(&PathBuf, &PathBuf, &PathBuf, i32); 4] = [
        (&absent, &key, &absent, libc::ENOENT),
        (&chain, &absent, &absent, libc::ENOENT),
        (&folder, &key, &folder, libc::EISDIR),
        (&chain, &folder, &folder, libc::EISDIR),
    ];
    for (chain, key, file, errno) in rows {
        let error = TlsServerConfig::from_pem(chain, key).build().unwrap_err();
        assert_eq!(error.fault(), Fault::FileUnreadable(Errno(errno)));
        assert_eq!(error.file(), Some(file.as_path()));
        let std = std::io::Error::from(error.clone());
        assert_eq!((std.kind(), std.to_string()), (Errno(errno).kind(), error.to_string()));
    }
    let gone = dir.path("gone.pem");
    for error in [
        TlsClientConfig::with_roots(Roots::from_pem_file(&gone)).build().map(drop),
        TlsServerConfig::from_pem(&chain, &key)
            .client_auth_required(Roots::from_der([issued.chain_der[0].clone()]))
            .client_crls_from_pem_file(&gone)
            .build()
            .map(drop),
    ] {
        assert_eq!(error.unwrap_err().file(), Some(gone.as_path()));
    }
}

#[test]
fn der_that_is_none() {
    let issued = Issued::self_signed(&["a.example"]);
    let (chain, key) = (issued.chain_der.clone(), issued.key_der.as_slice());
    assert!(TlsServerConfig::from_der(chain.clone(), key).build().is_ok());
    // The form of an encrypted PKCS#8 key, RFC 5958 §3.
    let encrypted = [0x30, 7, 0x30, 2, 6, 0, 4, 1, 0];
    type Given<'a> = (Vec<Vec<u8>>, &'a [u8], Fault);
    let rows: [Given<'_>; 5] = [
        (vec![], key, Fault::NoCertificate),
        (vec![b"no".to_vec()], key, Fault::BadCertificate),
        (chain.clone(), b"no", Fault::UnsupportedKey),
        (chain.clone(), b"", Fault::UnsupportedKey),
        (chain, &encrypted[..], Fault::EncryptedKey),
    ];
    for (chain, key, fault) in rows {
        let error = TlsServerConfig::from_der(chain, key).build().unwrap_err();
        assert_eq!(error.fault(), fault, "{error}");
    }
}

#[test]
fn every_knob_of_a_server_is_checked() {
    type Change = fn(TlsServerBuilder) -> TlsServerBuilder;
    fn identity() -> TlsIdentity {
        Issued::self_signed(&["b.example", "*.c.example"]).identity()
    }
    let rows: &[(Change, Fault, &str)] = &[
        (|b| b.alpn([""]), Fault::BadAlpn, "0 bytes"),
        (|b| b.alpn(["x".repeat(256)]), Fault::BadAlpn, "256 bytes"),
        (|b| b.alpn(["h2", "h2"]), Fault::BadAlpn, "h2"),
        (|b| b.alpn((0..17).map(|i| i.to_string())), Fault::BadAlpn, "17 names"),
        (|b| b.versions(TlsVersion::Tls13, TlsVersion::Tls12), Fault::VersionRange, "TLS 1.3"),
        (|b| b.cipher_suites(["RC4"]), Fault::UnknownCipherSuite, "RC4"),
        (|b| b.cipher_suites([""; 0]), Fault::NoCipherSuite, "TLS 1.3"),
        (|b| b.cipher_suites(["TLS_AES_128_GCM_SHA256"]), Fault::NoCipherSuite, "TLS 1.2"),
        (|b| b.key_exchange(["ffdhe2048"]), Fault::BadKeyExchange, "ffdhe2048"),
        (|b| b.key_exchange([""; 0]), Fault::BadKeyExchange, "none for TLS 1.3"),
        (|b| b.key_exchange(["MLKEM768"]), Fault::BadKeyExchange, "none for TLS 1.2"),
        (|b| b.handshake_timeout(Duration::ZERO), Fault::OutOfRange, "handshake_timeout = 0"),
        (
            |b| b.handshake_timeout(Duration::from_secs(3601)),
            Fault::OutOfRange,
            "handshake_timeout = 3601000",
        ),
        (
            |b| b.close_notify_timeout(Duration::from_secs(3601)),
            Fault::OutOfRange,
            "close_notify_timeout",
        ),
        (|b| b.max_record_size(511), Fault::OutOfRange, "max_record_size = 511"),
        (|b| b.max_record_size(16_385), Fault::OutOfRange, "512 to 16,384"),
        (|b| b.send_tickets(9), Fault::OutOfRange, "send_tickets = 9"),
        (|b| b.session_cache((1 << 20) + 1), Fault::OutOfRange, "session_cache"),
        (|b| b.server_name("b.example.", identity()), Fault::BadServerName, "b.example."),
        (|b| b.server_name("a.example", identity()), Fault::NameNotCovered, "a.example"),
        (|b| b.server_name("*.b.example", identity()), Fault::NameNotCovered, "*.b.example"),
        (
            |b| b.server_name("*.c.example", identity()).server_name("*.C.example", identity()),
            Fault::DuplicateServerName,
            "*.c.example",
        ),
        (
            |b| b.client_auth_required(Roots::from_pem_bytes("")),
            Fault::NoCertificate,
            "the root certificates",
        ),
        (|b| b.client_auth_optional(Roots::from_der([])), Fault::NoRoots, "DER"),
        (|b| b.client_crls_from_pem_bytes(""), Fault::CrlWithoutRoots, ""),
    ];
    let issued = Issued::self_signed(&["a.example"]);
    for (change, fault, detail) in rows {
        let error = change(TlsServerConfig::with_identity(issued.identity())).build().unwrap_err();
        assert_eq!(error.fault(), *fault, "{error}");
        assert!(error.to_string().contains(detail), "{error} has no {detail}");
        assert!(error.to_string().contains(fault.fix()), "{error}");
        let line = error.line().unwrap_or(0);
        assert_eq!(IoError::from(error), IoError::TlsConfig { fault: *fault, line });
    }
}

#[test]
fn every_knob_of_a_client_is_checked() {
    type Change = fn(TlsClientBuilder) -> TlsClientBuilder;
    let rows: &[(Change, Fault)] = &[
        (|b| b.alpn([""]), Fault::BadAlpn),
        (|b| b.max_record_size(0), Fault::OutOfRange),
        (|b| b.session_cache(65_537), Fault::OutOfRange),
        (|b| b.server_name(""), Fault::BadServerName),
        (|b| b.server_name("a b"), Fault::BadServerName),
        (|b| b.server_name("b\u{fc}cher.example"), Fault::BadServerName),
        (|b| b.server_name("a".repeat(254)), Fault::BadServerName),
        (|b| b.pins(Pins::new()), Fault::BadPin),
        (|b| b.identity(TlsIdentity::from_pem_bytes("", "")), Fault::NoCertificate),
        (|b| b.cipher_suites(["x"]), Fault::UnknownCipherSuite),
    ];
    let root = Authority::new("root");
    for (change, fault) in rows {
        let error = change(client(&root)).build().unwrap_err();
        assert_eq!(error.fault(), *fault, "{error}");
    }
    let error = TlsClientConfig::with_pins(Pins::new()).build().unwrap_err();
    assert_eq!(error.fault(), Fault::BadPin);
}

#[test]
fn a_bad_root_has_its_line() {
    let pem = format!("{}{}", Authority::new("root").0.pem(), block("CERTIFICATE"));
    let dir = Dir::new();
    let path = dir.write("roots.pem", &pem);
    let error = TlsClientConfig::with_roots(Roots::from_pem_file(&path)).build().unwrap_err();
    assert_eq!(error.fault(), Fault::BadCertificate);
    assert_eq!((error.file(), error.line()), (Some(path.as_path()), Some(block_line(&pem, 2))));
    let error = TlsClientConfig::with_roots(Roots::from_der([vec![1]])).build().unwrap_err();
    assert_eq!(error.fault(), Fault::BadCertificate);
}

#[test]
fn a_bad_revocation_list_has_its_line() {
    let root = Authority::new("root");
    let issued = root.issue(&["a.example"]);
    let server = || TlsServerConfig::with_identity(issued.identity());
    let build = |pem: &str| {
        let server = server().client_auth_required(root.roots());
        server.client_crls_from_pem_bytes(pem).build().unwrap_err()
    };
    let error = build(&format!("\n{}", block("X509 CRL")));
    assert_eq!((error.fault(), error.line()), (Fault::BadCrl, Some(2)));
    assert_eq!(build("").fault(), Fault::BadCrl);
}

#[test]
fn messages_have_the_command_to_paste() {
    let issued = Issued::self_signed(&["a.example"]);
    let dir = Dir::new();
    let chain = dir.write("chain.pem", &issued.chain_pem);
    let key = dir.write("key.pem", block("ENCRYPTED PRIVATE KEY"));
    let error = TlsServerConfig::from_pem(chain, &key).build().unwrap_err();
    let key = key.display();
    let expected = format!(
        "{key}:1: the private key is encrypted; decrypt it: openssl pkey -in {key} -out \
         {key}.plain.pem"
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(
        IoError::from(error).to_string(),
        "the TLS configuration is refused at line 1: the private key is encrypted; decrypt it: \
         openssl pkey -in FILE -out FILE.plain.pem"
    );
}

#[test]
fn no_message_and_no_debug_text_shows_a_key() {
    let issued = Issued::self_signed(&["a.example"]);
    let body = issued.key_pem.lines().nth(1).unwrap();
    let builder = TlsServerConfig::with_identity(issued.identity());
    assert!(!format!("{builder:?}").contains(body));
    assert!(!format!("{:?}", TlsIdentity::from_der([], &issued.key_der)).contains("48"));
    let config = builder.build().unwrap();
    assert!(!format!("{config:?}").contains(body));
}

#[test]
fn the_name_to_verify_comes_from_the_target() {
    let root = Authority::new("root");
    let plain = client(&root).build().unwrap();
    let named = client(&root).server_name("other.example.").build().unwrap();
    let addressed = client(&root).server_name("::1").build().unwrap();
    let host = |host: &str| HostOrAddr::from((host, 1));
    let rows = [
        (host("a.example"), "a.example"),
        (host("A.example."), "A.example"),
        (host("127.0.0.1"), "127.0.0.1"),
        (HostOrAddr::Addr(([127, 0, 0, 1], 1).into()), "127.0.0.1"),
        (HostOrAddr::Addr("[::1]:5".parse().unwrap()), "::1"),
        (HostOrAddr::Addr("[::ffff:127.0.0.1]:5".parse().unwrap()), "127.0.0.1"),
    ];
    for (target, expected) in rows {
        let name = plain.server_name_for(Some(&target)).unwrap();
        assert_eq!(name.to_str(), expected);
        assert_eq!(named.server_name_for(Some(&target)).unwrap().to_str(), "other.example");
        assert_eq!(addressed.server_name_for(Some(&target)).unwrap().to_str(), "::1");
    }
    assert_eq!(plain.server_name_for(None).unwrap_err().fault(), Fault::NoServerName);
    assert_eq!(named.server_name_for(None).unwrap().to_str(), "other.example");
    for bad in ["", ".", "a..b", "a b", "b\u{fc}cher.example", &"a.".repeat(200)] {
        let error = plain.server_name_for(Some(&host(bad))).unwrap_err();
        assert_eq!(error.fault(), Fault::BadServerName, "{bad}");
    }
}
