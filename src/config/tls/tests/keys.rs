//! Keys in every form in which OpenSSL writes them.

use std::process::Command;

use super::super::{Roots, TlsClientConfig, TlsIdentity, TlsServerConfig};
use super::world::{Dir, good};
use crate::error::TlsConfigFault as Fault;

/// Runs `openssl` in the directory, and is loud when it is missing or unhappy.
fn openssl(dir: &Dir, command: &str) {
    let ran = Command::new("openssl").args(command.split(' ')).current_dir(dir).output();
    let ran = ran.expect("this test needs the command openssl (Debian: apt install openssl)");
    assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Makes `key.pem` by `generate`, and `cert.pem` for it.
fn certified(generate: &str) -> Dir {
    let dir = Dir::new();
    openssl(&dir, generate);
    openssl(
        &dir,
        "req -x509 -key key.pem -out cert.pem -days 2 -subj /CN=a.example -addext \
         subjectAltName=DNS:a.example -addext basicConstraints=critical,CA:FALSE",
    );
    dir
}

/// The key after `convert`, which writes `out.pem`, works in a handshake.
fn works(dir: &Dir, identity: TlsIdentity) {
    let server = TlsServerConfig::with_identity(identity).build().unwrap();
    let roots = Roots::from_pem_file(dir.path("cert.pem"));
    let client = TlsClientConfig::with_roots(roots).build().unwrap();
    good(&client, &server, "a.example");
}

const RSA: &str = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem";
const P256: &str = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem";
const P384: &str = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key.pem";
const P521: &str = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out key.pem";
const ED25519: &str = "genpkey -algorithm ED25519 -out key.pem";

#[test]
fn every_form_that_is_supported() {
    let rows: &[(&str, &str, &str)] = &[
        (RSA, "pkcs8 -topk8 -nocrypt -in key.pem -out out.pem", "PRIVATE KEY"),
        (RSA, "rsa -traditional -in key.pem -out out.pem", "RSA PRIVATE KEY"),
        (P256, "pkcs8 -topk8 -nocrypt -in key.pem -out out.pem", "PRIVATE KEY"),
        (P256, "ec -in key.pem -out out.pem", "EC PRIVATE KEY"),
        (P384, "ec -in key.pem -out out.pem", "EC PRIVATE KEY"),
        (P521, "pkcs8 -topk8 -nocrypt -in key.pem -out out.pem", "PRIVATE KEY"),
        (ED25519, "pkcs8 -topk8 -nocrypt -in key.pem -out out.pem", "PRIVATE KEY"),
    ];
    for (generate, convert, label) in rows {
        let dir = certified(generate);
        openssl(&dir, convert);
        let out = std::fs::read_to_string(dir.path("out.pem")).unwrap();
        assert!(out.starts_with(&format!("-----BEGIN {label}-----")), "{convert}: {out}");
        works(&dir, TlsIdentity::from_pem(dir.path("cert.pem"), dir.path("out.pem")));
        // Certificate and key in one file, as some tools want it.
        let cert = std::fs::read_to_string(dir.path("cert.pem")).unwrap();
        let both = dir.write("both.pem", format!("{out}{cert}"));
        works(&dir, TlsIdentity::from_pem(&both, &both));
    }
}

#[test]
fn the_same_in_der() {
    let rows = [
        (RSA, "pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out out.der"),
        (RSA, "rsa -traditional -in key.pem -outform DER -out out.der"),
        (P256, "ec -in key.pem -outform DER -out out.der"),
        (ED25519, "pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out out.der"),
    ];
    for (generate, convert) in rows {
        let dir = certified(generate);
        openssl(&dir, convert);
        openssl(&dir, "x509 -in cert.pem -outform DER -out cert.der");
        let chain = std::fs::read(dir.path("cert.der")).unwrap();
        let key = std::fs::read(dir.path("out.der")).unwrap();
        works(&dir, TlsIdentity::from_der([chain], key));
    }
}

#[test]
fn a_file_with_the_parameters_of_the_curve() {
    let dir = certified("ecparam -name prime256v1 -genkey -out key.pem");
    let text = std::fs::read_to_string(dir.path("key.pem")).unwrap();
    assert!(text.contains("EC PARAMETERS"), "{text}");
    works(&dir, TlsIdentity::from_pem(dir.path("cert.pem"), dir.path("key.pem")));
}

#[test]
fn encrypted_and_unsupported_keys_are_named() {
    let p256_certificate = certified(P256);
    let rows = [
        (RSA, "pkcs8 -topk8 -passout pass:secret -in key.pem -out out.pem", Fault::EncryptedKey),
        (
            RSA,
            "rsa -traditional -aes256 -passout pass:secret -in key.pem -out out.pem",
            Fault::EncryptedKey,
        ),
        (P256, "ec -aes256 -passout pass:secret -in key.pem -out out.pem", Fault::EncryptedKey),
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out key.pem",
            "pkey -in key.pem -out out.pem",
            Fault::UnsupportedKey,
        ),
        (
            "genpkey -algorithm ED448 -out key.pem",
            "pkey -in key.pem -out out.pem",
            Fault::UnsupportedKey,
        ),
        (
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out key.pem",
            "rsa -traditional -in key.pem -out out.pem",
            Fault::UnsupportedKey,
        ),
    ];
    for (generate, convert, fault) in rows {
        let dir = Dir::new();
        openssl(&dir, generate);
        openssl(&dir, convert);
        let chain = p256_certificate.path("cert.pem");
        let error = TlsServerConfig::from_pem(chain, dir.path("out.pem")).build().unwrap_err();
        assert_eq!((error.fault(), error.line()), (fault, Some(1)), "{convert}: {error}");
        assert_eq!(error.file(), Some(dir.path("out.pem").as_path()));
    }
    let dir = Dir::new();
    openssl(&dir, P256);
    openssl(&dir, "pkcs8 -topk8 -passout pass:secret -in key.pem -outform DER -out out.der");
    openssl(&p256_certificate, "x509 -in cert.pem -outform DER -out cert.der");
    let chain = std::fs::read(p256_certificate.path("cert.der")).unwrap();
    let key = std::fs::read(dir.path("out.der")).unwrap();
    let error = TlsServerConfig::from_der([chain], key).build().unwrap_err();
    assert_eq!(error.fault(), Fault::EncryptedKey, "{error}");
}

#[test]
fn a_pin_as_the_documents_command_makes_it() {
    let dir = certified(P256);
    openssl(&dir, "x509 -in cert.pem -pubkey -noout -out pub.pem");
    openssl(&dir, "pkey -pubin -in pub.pem -outform der -out pub.der");
    openssl(&dir, "dgst -sha256 -binary -out pin.bin pub.der");
    openssl(&dir, "base64 -in pin.bin -out pin.txt");
    let pin = std::fs::read_to_string(dir.path("pin.txt")).unwrap();
    let pins = super::super::Pins::new().spki_sha256_text(pin.trim());
    let identity = TlsIdentity::from_pem(dir.path("cert.pem"), dir.path("key.pem"));
    let server = TlsServerConfig::with_identity(identity).build().unwrap();
    good(&TlsClientConfig::with_pins(pins).build().unwrap(), &server, "a.example");
}
