//! A table of headers, each cut everywhere.

use super::*;

const SIG: &[u8] = SIGNATURE_2;
const NO_SIGNATURE: &str = "it does not begin with a PROXY signature";

fn header_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u16).to_be_bytes();
    [SIG, &[command, family], &len, body].concat()
}

fn value(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB];

fn v6() -> Vec<u8> {
    let mut body = vec![0x20, 1, 0xd, 0xb8];
    body.extend([0; 11]);
    body.push(1);
    body.extend([0x20, 1, 0xd, 0xb8]);
    body.extend([0; 11]);
    body.push(2);
    body.extend([0xDC, 0x04, 0x01, 0xBB]);
    body
}

/// A header of version 2 for `V4` with those values.
fn with(values: &[Vec<u8>]) -> Vec<u8> {
    header_2(0x21, 0x11, &[&V4[..], &values.concat()].concat())
}

fn of(client: &str, destination: &str) -> Header<'static> {
    Header {
        client: Client::Inet(client.parse().unwrap()),
        destination: Some(destination.parse().unwrap()),
        ..Header::default()
    }
}

const UNKNOWN: Header<'static> = Header {
    client: Client::Unknown,
    destination: None,
    authority: None,
    unique_id: None,
    tls: false,
};

fn v4_seen() -> Header<'static> {
    of("192.0.2.1:56324", "198.51.100.2:443")
}

/// What is read of a header with anything behind it, however it is cut: at each length it needs
/// more, or has the answer that all of it has.
#[track_caller]
fn check(bytes: &[u8], expected: Result<Header<'_>, &str>) {
    let shown = String::from_utf8_lossy(bytes).into_owned();
    let mut followed = bytes.to_vec();
    followed.extend_from_slice(b"\r\nGET / HTTP/1.1\r\n");
    match (parse(&followed), expected) {
        (Parsed::Done { len, header }, Ok(expected)) => {
            assert_eq!((len, header), (bytes.len(), expected), "{shown:?}");
        }
        (Parsed::Bad(why), Err(expected)) => assert_eq!(why, expected, "{shown:?}"),
        (other, expected) => panic!("{shown:?} is {other:?}, not {expected:?}"),
    }
    let whole = parse(&followed);
    let mut needed = 0;
    for cut in 0..=followed.len() {
        match parse(&followed[..cut]) {
            Parsed::Need(need) => {
                assert!(need > cut && need >= needed, "{need} of {cut} bytes of {shown:?}");
                assert!(need <= v2::LEN_MAX + 16);
                needed = need;
            }
            other => {
                // That it is none may be known sooner.
                assert!(
                    cut >= needed || matches!(other, Parsed::Bad(_)),
                    "{cut} bytes of {shown:?}"
                );
                assert_eq!(other, whole, "{cut} bytes of {shown:?}");
            }
        }
    }
}

#[test]
fn lines_of_version_1() {
    let v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {v6} {v6} 65535 65535\r\n");
    assert_eq!(longest.len(), 107);
    let rows: [(&str, Header<'_>); 12] = [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", v4_seen()),
        (
            "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
            of("0.0.0.0:0", "255.255.255.255:65535"),
        ),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", of("1.2.3.4:1", "5.6.7.8:2")),
        (
            "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n",
            of("[2001:db8::1]:56324", "[2001:db8::2]:443"),
        ),
        ("PROXY TCP6 :: ::1 1 2\r\n", of("[::]:1", "[::1]:2")),
        ("PROXY TCP6 2001:DB8::A ::1 1 2\r\n", of("[2001:db8::a]:1", "[::1]:2")),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", of("[::ffff:192.0.2.1]:1", "[::1]:2")),
        ("PROXY UNKNOWN\r\n", UNKNOWN),
        ("PROXY UNKNOWN \r\n", UNKNOWN),
        ("PROXY UNKNOWN anything \x01\u{ff} at all\r\n", UNKNOWN),
        ("PROXY UNKNOWN TCP4 1.2.3.4 5.6.7.8 1 2\r\n", UNKNOWN),
        (&longest, UNKNOWN),
    ];
    for (line, expected) in rows {
        check(line.as_bytes(), Ok(expected));
    }
}

#[test]
fn bad_lines_of_version_1() {
    const ADDRESS: &str = "an address is none of its family";
    const PORT: &str = "a port is no decimal number up to 65535";
    const PROTOCOL: &str = "the protocol is none of TCP4, TCP6, UNKNOWN";
    const END: &str = "the line does not end with CR LF";
    const LONG: &str = "it has no end within 107 bytes";
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(long.len(), 108);
    let endless = format!("PROXY TCP4 {}", " ".repeat(3000));
    let rows = [
        ("PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n", ADDRESS),
        ("PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n", ADDRESS),
        ("PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n", ADDRESS),
        ("PROXY TCP4 0x7f.0.0.1 198.51.100.2 1 2\r\n", ADDRESS),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", ADDRESS),
        ("PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n", ADDRESS),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", ADDRESS),
        ("PROXY TCP6 [::1] [::1] 1 2\r\n", ADDRESS),
        ("PROXY TCP6 1::2::3 ::1 1 2\r\n", ADDRESS),
        ("PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n", ADDRESS),
        ("PROXY TCP4\r\n", ADDRESS),
        ("PROXY TCP4 192.0.2.1\r\n", ADDRESS),
        ("PROXY TCP4 192.0.2.1 198.51.100.2\r\n", PORT),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n", PORT),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n", PORT),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n", PORT),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 02\r\n", PORT),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n", PORT),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n", PORT),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n", "the line goes on behind the ports"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n", "the line goes on behind the ports"),
        ("PROXY TCP4\t192.0.2.1 198.51.100.2 1 2\r\n", PROTOCOL),
        ("PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n", PROTOCOL),
        ("PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n", PROTOCOL),
        ("PROXY UNKNOWNS\r\n", PROTOCOL),
        ("PROXY \r\n", PROTOCOL),
        ("PROXY TCP4 192.0.2.\u{ff}1 198.51.100.2 1 2\r\n", ADDRESS),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n", END),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\rX", END),
        ("PROXY UNKNOWN a\nb\r\n", END),
        (&long, LONG),
        (&endless, LONG),
        ("PROXY\r\n", NO_SIGNATURE),
        ("PROXXY TCP4", NO_SIGNATURE),
        ("proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n", NO_SIGNATURE),
        (" PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n", NO_SIGNATURE),
        ("GET / HTTP/1.1\r\n", NO_SIGNATURE),
        ("POST / HTTP/1.1\r\n", NO_SIGNATURE),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NO_SIGNATURE),
        ("\u{16}\u{3}\u{1}", NO_SIGNATURE),
    ];
    for (line, expected) in rows {
        check(line.as_bytes(), Err(expected));
    }
    // A line feed alone, where the line has to end.
    let bare = format!("PROXY UNKNOWN {}\n", "x".repeat(92));
    assert_eq!(bare.len(), 107);
    check(bare.as_bytes(), Err(END));
    // No text at all.
    check(b"PROXY TCP4 192.0.2.1 \xFF 1 2\r\n", Err("the line is no ASCII text"));
}

#[test]
fn headers_of_version_2() {
    let v6_seen = of("[2001:db8::1]:56324", "[2001:db8::2]:443");
    let unix = Header { client: Client::Unix, ..Header::default() };
    let itself = Header::default();
    let rest = vec![0xEE; v2::LEN_MAX];
    let rows: [(Vec<u8>, Header<'_>); 20] = [
        (header_2(0x21, 0x11, &V4), v4_seen()),
        (header_2(0x21, 0x12, &V4), v4_seen()),
        (header_2(0x21, 0x21, &v6()), v6_seen),
        (header_2(0x21, 0x22, &v6()), v6_seen),
        (header_2(0x21, 0x31, &[b'/'; 216]), unix),
        (header_2(0x21, 0x32, &[0; 216]), unix),
        (header_2(0x21, 0x00, &[]), UNKNOWN),
        (header_2(0x21, 0x00, &V4), UNKNOWN),
        (header_2(0x21, 0x00, &rest), UNKNOWN),
        (header_2(0x20, 0x00, &[]), itself),
        (header_2(0x20, 0x11, &V4), itself),
        (header_2(0x20, 0xFF, &[1, 2, 3]), itself),
        (header_2(0x20, 0x00, &rest), itself),
        (with(&[value(0x01, b"h2"), value(0x04, &[0; 9]), value(0xEA, b"aws")]), v4_seen()),
        (with(&[value(0x04, &[0; v2::LEN_MAX - 12 - 3])]), v4_seen()),
        (with(&[value(0x02, b"a.example")]), Header { authority: Some("a.example"), ..v4_seen() }),
        (
            with(&[value(0x05, &[7; 128]), value(0x02, b"")]),
            Header { authority: Some(""), unique_id: Some(&[7; 128]), ..v4_seen() },
        ),
        (with(&[value(0x20, &[1, 0, 0, 0, 0])]), Header { tls: true, ..v4_seen() }),
        (with(&[value(0x20, &[6, 0, 0, 0, 0])]), v4_seen()),
        (
            with(&[value(0x20, &[&[7, 0, 0, 0, 0][..], &value(0x21, b"TLSv1.3")].concat())]),
            Header { tls: true, ..v4_seen() },
        ),
    ];
    for (bytes, expected) in &rows {
        check(bytes, Ok(*expected));
    }
}

#[test]
fn bad_headers_of_version_2() {
    const SHORT: &str = "it is too short for its addresses";
    const COMMAND: &str = "neither LOCAL nor PROXY of version 2";
    const FAMILY: &str = "its family or transport is not specified";
    const CUT: &str = "a value is cut off by its end";
    const TWICE: &str = "a value comes twice";
    let too_long = [SIG, &[0x21, 0x11], &2049u16.to_be_bytes()[..]].concat();
    let claims = [SIG, &[0x20, 0x00, 0xFF, 0xFF]].concat();
    let mut bent = SIG.to_vec();
    bent[11] = b'\r';
    let inner = [&[1, 0, 0, 0, 0][..], &[0x21, 0, 9, b'x']].concat();
    let name = value(0x02, b"a");
    let rows: [(Vec<u8>, &str); 26] = [
        (header_2(0x21, 0x11, &V4[..11]), SHORT),
        (header_2(0x21, 0x11, &[]), SHORT),
        (header_2(0x21, 0x21, &V4), SHORT),
        (header_2(0x21, 0x22, &v6()[..35]), SHORT),
        (header_2(0x21, 0x31, &[0; 215]), SHORT),
        (header_2(0x22, 0x11, &V4), COMMAND),
        (header_2(0x11, 0x11, &V4), COMMAND),
        (header_2(0x31, 0x11, &V4), COMMAND),
        (header_2(0x2F, 0x11, &V4), COMMAND),
        (header_2(0x00, 0x00, &[]), COMMAND),
        (header_2(0x21, 0x10, &V4), FAMILY),
        (header_2(0x21, 0x01, &V4), FAMILY),
        (header_2(0x21, 0x13, &V4), FAMILY),
        (header_2(0x21, 0x41, &V4), FAMILY),
        (too_long, "it is longer than 2,064 bytes"),
        (claims, "it is longer than 2,064 bytes"),
        (bent, NO_SIGNATURE),
        (b"\r\n\r\n\0\r\nQUIT ".to_vec(), NO_SIGNATURE),
        (with(&[vec![0x04]]), CUT),
        (with(&[vec![0x04, 0]]), CUT),
        (with(&[vec![0x04, 0, 2, 0]]), CUT),
        (with(&[value(0x02, &[0xFF])]), "the authority is no host name"),
        (with(&[value(0x02, &[b'a'; 256])]), "the authority is no host name"),
        (with(&[name.clone(), name]), TWICE),
        (with(&[value(0x05, &[0; 129])]), "the unique id is longer than 128 bytes"),
        (with(&[value(0x20, &inner)]), "a value within the TLS value is cut off"),
    ];
    for (bytes, expected) in &rows {
        check(bytes, Err(expected));
    }
    for kind in [0x05, 0x20] {
        let twice = value(kind, &[0; 5]);
        check(&with(&[twice.clone(), twice]), Err(TWICE));
    }
    check(&with(&[value(0x20, &[1, 0, 0, 0])]), Err("the TLS value is too short"));
}

/// The checksum of a header, by the polynomial written the other way round.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(byte.reverse_bits()) << 24;
        for _ in 0..8 {
            crc = crc << 1 ^ if crc >> 31 == 1 { 0x1EDC_6F41 } else { 0 };
        }
    }
    !crc.reverse_bits()
}

#[test]
fn checksums_are_checked() {
    // RFC 3720 appendix B.4, and the customary check of CRC catalogues.
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    let values = [value(0x04, b"before"), value(0x03, &[0; 4]), value(0x02, b"behind")];
    let mut bytes = with(&values);
    let at = bytes.len() - values[2].len() - 4;
    let sum = crc32c(&bytes);
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    check(&bytes, Ok(Header { authority: Some("behind"), ..v4_seen() }));
    for place in [16, 31, at, bytes.len() - 1] {
        let mut bent = bytes.clone();
        bent[place] ^= 1;
        assert_eq!(parse(&bent), Parsed::Bad("the checksum is wrong"), "byte {place}");
    }
    check(&with(&[value(0x03, &[0; 3])]), Err("the checksum has not 4 bytes"));
    check(&with(&[value(0x03, &[0; 5])]), Err("the checksum has not 4 bytes"));
}
