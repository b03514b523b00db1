//! Whom a client believes, whom a server lets in, and what is never let pass.

use rustls::{AlertDescription, CertificateError, Error};

use super::super::{PeerIdentity, Pins, Roots, TlsClientConfig, TlsInfo, TlsServerConfig};
#[cfg(feature = "tls-platform-roots")]
use super::world::shake;
use super::world::{Authority, Issued, alert_of_server, client, good, refused_by_client};

const NAME: &str = "a.example";

fn server(issued: &Issued) -> TlsServerConfig {
    TlsServerConfig::with_identity(issued.identity().allow_expired()).build().unwrap()
}

fn is_about_the_name(error: &Error) -> bool {
    use CertificateError as C;
    matches!(
        error,
        Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. })
    )
}

/// An error about the dates.
fn is_about_dates(error: &Error) -> bool {
    use CertificateError as C;
    matches!(
        error,
        Error::InvalidCertificate(
            C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. }
        )
    )
}

fn out_of_date(authority: &Authority) -> [Issued; 2] {
    let year = |year| rcgen::date_time_ymd(year, 1, 1);
    [
        authority.issue_with(&[NAME], |params| params.not_after = year(2001)),
        authority.issue_with(&[NAME], |params| params.not_before = year(4000)),
    ]
}

#[test]
fn the_chain_the_dates_and_the_name() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let good_one = server(&root.issue(&[NAME, "127.0.0.1", "::1", "*.w.example"]));
    let config = client(&root).build().unwrap();
    for name in [NAME, "A.EXAMPLE", "127.0.0.1", "::1", "x.w.example"] {
        good(&config, &good_one, name);
    }
    for name in ["b.example", "127.0.0.2", "::2", "w.example", "x.y.w.example", "example"] {
        let error = refused_by_client(&config, &good_one, name);
        assert!(is_about_the_name(&error), "{name}: {error:?}");
    }
    for issued in out_of_date(&root) {
        let error = refused_by_client(&config, &server(&issued), NAME);
        assert!(is_about_dates(&error), "{error:?}");
    }
    let stranger = client(&other).build().unwrap();
    let error = refused_by_client(&stranger, &good_one, NAME);
    assert_eq!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer));
    let error = refused_by_client(&config, &server(&Issued::self_signed(&[NAME])), NAME);
    assert_eq!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer));
    // Two sets of roots, joined.
    let both = TlsClientConfig::with_roots(root.roots().and(other.roots())).build().unwrap();
    good(&both, &good_one, NAME);
    good(&both, &server(&other.issue(&[NAME])), NAME);
}

#[test]
fn a_self_signed_certificate_is_its_own_root() {
    let issued = Issued::self_signed(&[NAME]);
    let roots = Roots::from_der(issued.chain_der.clone());
    good(&TlsClientConfig::with_roots(roots).build().unwrap(), &server(&issued), NAME);
}

#[test]
fn an_intermediate_must_be_sent() {
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let issued = middle.issue(&[NAME]);
    let config = client(&root).build().unwrap();
    refused_by_client(&config, &server(&issued), NAME);
    let chain = format!("{}{}", issued.chain_pem, middle.0.pem());
    let whole = TlsServerConfig::from_pem_bytes(chain, &issued.key_pem).build().unwrap();
    let pair = good(&config, &whole, NAME);
    let info = TlsInfo::of(&pair.client, None).unwrap();
    assert_eq!(info.peer.map(|peer| peer.chain().len()), Some(2));
}

#[test]
fn skipping_the_name_check_skips_nothing_else() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let config = client(&root).danger().skip_name_check().build().unwrap();
    good(&config, &server(&root.issue(&[NAME])), NAME);
    good(&config, &server(&root.issue(&["b.example"])), NAME);
    good(&config, &server(&root.issue(&["b.example"])), "127.0.0.1");
    // A wrong name with a second fault: the second one is told.
    for issued in out_of_date(&root) {
        let error = refused_by_client(&config, &server(&issued), "c.example");
        assert!(is_about_dates(&error), "{error:?}");
    }
    let error = refused_by_client(&config, &server(&other.issue(&["b.example"])), NAME);
    assert_eq!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer));
}

#[test]
fn accepting_any_certificate_still_honours_pins() {
    let root = Authority::new("root");
    let strange = Issued::self_signed(&["b.example"]);
    let config = client(&root).danger().accept_any_certificate().build().unwrap();
    good(&config, &server(&strange), NAME);
    for issued in out_of_date(&root) {
        good(&config, &server(&issued), NAME);
    }
    let pins = Pins::new().certificate_der(strange.leaf());
    let pinned = client(&root).pins(pins).danger().accept_any_certificate().build().unwrap();
    good(&pinned, &server(&strange), NAME);
    refused_by_client(&pinned, &server(&Issued::self_signed(&["b.example"])), NAME);
}

#[test]
fn pins_and_roots() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let (ours, same_root) = (root.issue(&[NAME]), root.issue(&[NAME]));
    let pair = good(&client(&root).build().unwrap(), &server(&ours), NAME);
    let info = TlsInfo::of(&pair.client, None).unwrap();
    let peer: PeerIdentity = info.peer.unwrap();
    assert_eq!(peer.certificate(), ours.leaf());
    for pins in [
        Pins::new().spki_sha256(peer.spki_sha256().unwrap()),
        Pins::new().certificate_sha256(peer.certificate_sha256()),
        Pins::new().certificate_der(same_root.leaf()).certificate_der(ours.leaf()),
    ] {
        good(&client(&root).pins(pins.clone()).build().unwrap(), &server(&ours), NAME);
        // The pin does not stand in for the root.
        refused_by_client(&client(&other).pins(pins).build().unwrap(), &server(&ours), NAME);
    }
    let pins = Pins::new().certificate_der(ours.leaf());
    let config = client(&root).pins(pins).build().unwrap();
    let error = refused_by_client(&config, &server(&same_root), NAME);
    assert!(error.to_string().contains("no pin fits"), "{error}");
}

#[test]
fn a_pin_of_the_issuer_is_no_pin() {
    // Whoever has any certificate could send the pinned one along.
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let issued = middle.issue(&[NAME]);
    let chain = format!("{}{}", issued.chain_pem, middle.0.pem());
    let server = TlsServerConfig::from_pem_bytes(chain, &issued.key_pem).build().unwrap();
    let pins = Pins::new().certificate_der(middle.0.der());
    refused_by_client(&client(&root).pins(pins).build().unwrap(), &server, NAME);
}

#[test]
fn pins_alone() {
    let issued = Issued::self_signed(&[NAME]);
    let pins = || Pins::new().certificate_der(issued.leaf());
    let config = TlsClientConfig::with_pins(pins()).build().unwrap();
    good(&config, &server(&issued), NAME);
    assert!(is_about_the_name(&refused_by_client(&config, &server(&issued), "b.example")));
    refused_by_client(&config, &server(&Issued::self_signed(&[NAME])), NAME);
    let unnamed = TlsClientConfig::with_pins(pins()).danger().skip_name_check().build().unwrap();
    good(&unnamed, &server(&issued), "b.example");
    for issued in out_of_date(&Authority::new("root")) {
        let pins = Pins::new().certificate_der(issued.leaf());
        let config = TlsClientConfig::with_pins(pins).build().unwrap();
        let error = refused_by_client(&config, &server(&issued), NAME);
        assert!(is_about_dates(&error), "{error:?}");
    }
}

#[test]
fn client_certificates() {
    let (root, clients, other) =
        (Authority::new("root"), Authority::new("clients"), Authority::new("other"));
    let issued = root.issue(&[NAME]);
    let make = || TlsServerConfig::with_identity(issued.identity());
    let none = make().build().unwrap();
    let optional = make().client_auth_optional(clients.roots()).build().unwrap();
    let required = make().client_auth_required(clients.roots()).build().unwrap();
    let anonymous = client(&root).build().unwrap();
    let known = clients.issue(&["user"]);
    let with = |identity| client(&root).identity(identity).build().unwrap();
    let peer_of = |client: &TlsClientConfig, server: &TlsServerConfig| {
        let pair = good(client, server, NAME);
        let info = TlsInfo::of(&pair.server, pair.server.server_name()).unwrap();
        assert_eq!(info.server_name.as_deref(), Some(NAME));
        info.peer.map(|peer| peer.certificate().to_vec())
    };
    assert_eq!(peer_of(&anonymous, &none), None);
    assert_eq!(peer_of(&anonymous, &optional), None);
    assert_eq!(peer_of(&with(known.identity()), &none), None);
    assert_eq!(peer_of(&with(known.identity()), &optional).as_deref(), Some(known.leaf()));
    assert_eq!(peer_of(&with(known.identity()), &required).as_deref(), Some(known.leaf()));
    let alert = alert_of_server(&anonymous, &required, NAME);
    assert_eq!(alert, AlertDescription::CertificateRequired);
    let stranger = with(other.issue(&["user"]).identity());
    for server in [&optional, &required] {
        assert_eq!(alert_of_server(&stranger, server, NAME), AlertDescription::UnknownCA);
    }
    for issued in out_of_date(&clients) {
        let late = with(issued.identity().allow_expired());
        let alert = alert_of_server(&late, &required, NAME);
        assert_eq!(alert, AlertDescription::CertificateExpired);
    }
}

#[test]
fn revoked_client_certificates() {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let issued = root.issue(&[NAME]);
    let year = |year| rcgen::date_time_ymd(year, 1, 1);
    let serial = |number: u8| rcgen::SerialNumber::from_slice(&[number]);
    let numbered =
        |number| clients.issue_with(&["user"], |p| p.serial_number = Some(serial(number)));
    let list = rcgen::CertificateRevocationListParams {
        this_update: year(2020),
        next_update: year(4000),
        crl_number: serial(1),
        issuing_distribution_point: None,
        revoked_certs: vec![rcgen::RevokedCertParams {
            serial_number: serial(7),
            revocation_time: year(2020),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&clients.0).unwrap().pem().unwrap();
    let server = TlsServerConfig::with_identity(issued.identity())
        .client_auth_required(clients.roots())
        .client_crls_from_pem_bytes(list)
        .build()
        .unwrap();
    let with = |number| client(&root).identity(numbered(number).identity()).build().unwrap();
    good(&with(8), &server, NAME);
    let alert = alert_of_server(&with(7), &server, NAME);
    assert_eq!(alert, AlertDescription::CertificateRevoked);
}

#[cfg(feature = "tls-webpki-roots")]
#[test]
fn mozillas_roots_know_nothing_of_ours() {
    let config = TlsClientConfig::with_roots(Roots::webpki()).build().unwrap();
    let error = refused_by_client(&config, &server(&Authority::new("root").issue(&[NAME])), NAME);
    assert_eq!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer));
    let both = Roots::webpki().and(Authority::new("more").roots());
    assert!(TlsClientConfig::with_roots(both).build().is_ok());
}

#[cfg(feature = "tls-platform-roots")]
#[test]
fn the_platforms_roots_are_there_or_named_as_missing() {
    use crate::error::TlsConfigFault;
    match TlsClientConfig::with_roots(Roots::platform()).build() {
        Ok(config) => {
            let ours = server(&Authority::new("root").issue(&[NAME]));
            assert!(shake(&config, &ours, NAME).errors.0.is_some());
        }
        Err(error) => assert_eq!(error.fault(), TlsConfigFault::NoRoots, "{error}"),
    }
}
