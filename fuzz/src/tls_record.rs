//! Target `tls_record`: a stream of records, some of them forged under the right keys, for the
//! TLS machine in pieces, for the same machine at once, and for rustls.
//!
//! Held: nothing panics; the two machines say the same; all three give the same plaintext; what
//! rustls refuses is refused. Handshakes have no randomness here, so that all three share keys.

use crate::input::Input;
use rustls::crypto::aws_lc_rs::{cipher_suite as suite, default_provider};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, NamedGroup, RootCertStore, ServerConfig,
    ServerConnection, SupportedCipherSuite,
};
use std::io::{Cursor, Read};
use std::sync::{Arc, OnceLock};
use zero_io::tls_fuzz::{Machine, Said};

/// Records of one script.
const RECORDS_MAX: usize = 24;
/// Alerts of one script: rustls bears four warnings in the life of a connection.
const ALERTS_MAX: usize = 4;
const CONTENT_LEN_MAX: u64 = 20_000;
pub(crate) const NAME: &str = "host.example";
const SUITES: [SupportedCipherSuite; 5] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// More than any record lacks.
static ZEROS: [u8; 5 + 65_535] = [0; 5 + 65_535];

const CCS: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = usize::from(input.byte());
    let is_13 = choice % SUITES.len() < 3;
    let configs = &configs()[choice % SUITES.len()];
    let mut world = World::new(configs, choice & 0x80 != 0);
    let Script { stream, excused } = script(&mut world.sender, &mut input, is_13);
    let mut cuts = input;
    let whole = receive(&mut world.whole, &stream, || usize::MAX);
    let cut = receive(&mut world.cut, &stream, || 1 + cuts.size() % 700);
    assert_eq!(whole, cut, "the same stream, cut otherwise");
    let (plain, mut error) = theirs(&mut world.theirs, &stream);
    if error.is_none() && whole.failed.as_deref().is_some_and(is_early) {
        // rustls waits for all of the record first.
        error = theirs(&mut world.theirs, &ZEROS).1;
    }
    let mut failed = whole.failed.is_some();
    if !failed && matches!(error, Some(Error::InvalidMessage(_))) {
        // We wait for all of the header first.
        let more = [&whole.rest[..], &ZEROS].concat();
        failed = receive(&mut world.whole, &more, || usize::MAX).failed.is_some();
    }
    if excused {
        let (short, long) = if whole.plain.len() < plain.len() {
            (&whole.plain, &plain)
        } else {
            (&plain, &whole.plain)
        };
        assert!(long.starts_with(short), "{error:?} {:?}", whole.failed);
        return;
    }
    assert_eq!(failed, error.is_some(), "{error:?} {:?}", whole.failed);
    let lens = (whole.plain.len(), plain.len());
    assert!(whole.plain == plain, "{lens:?} bytes: {error:?} {:?}", whole.failed);
}

/// Reasons for which a record is refused at its header.
fn is_early(reason: &str) -> bool {
    [
        "a record of a type that cannot come after the handshake",
        "ChangeCipherSpec after the handshake",
        "a record is too long",
    ]
    .contains(&reason)
}

/// One sender, and three receivers with the same keys.
struct World {
    sender: Machine,
    whole: Machine,
    cut: Machine,
    theirs: Connection,
}

impl World {
    fn new(configs: &(Arc<ClientConfig>, Arc<ServerConfig>), to_client: bool) -> Self {
        let name = || ServerName::try_from(NAME).expect("a name");
        let client = || Machine::client(Arc::clone(&configs.0), name()).expect("a client");
        let server = || Machine::server(Arc::clone(&configs.1)).expect("a server");
        let theirs = match to_client {
            true => ClientConnection::new(Arc::clone(&configs.0), name()).expect("ours").into(),
            false => Connection::from(ServerConnection::new(Arc::clone(&configs.1)).expect("ours")),
        };
        let mut this = match to_client {
            true => Self { sender: server(), whole: client(), cut: client(), theirs },
            false => Self { sender: client(), whole: server(), cut: server(), theirs },
        };
        while this.round() {}
        assert!(this.sender.is_established() && this.whole.is_established());
        assert!(!this.theirs.is_handshaking());
        this
    }

    /// Carries a flight each way; whether there was one.
    fn round(&mut self) -> bool {
        let flight = self.sender.transmit();
        for receiver in [&mut self.whole, &mut self.cut] {
            receive(receiver, &flight, || usize::MAX);
        }
        assert_eq!(theirs(&mut self.theirs, &flight).1, None);
        let answer = self.whole.transmit();
        assert_eq!(answer, self.cut.transmit(), "handshakes have no randomness");
        let mut their_answer = Vec::new();
        while self.theirs.wants_write() {
            self.theirs.write_tls(&mut their_answer).expect("to memory");
        }
        assert_eq!(answer, their_answer, "handshakes have no randomness");
        receive(&mut self.sender, &answer, || usize::MAX);
        !flight.is_empty() || !answer.is_empty()
    }
}

/// What a machine said of a stream.
#[derive(PartialEq, Debug, Default)]
struct Heard {
    plain: Vec<u8>,
    records: usize,
    closed: bool,
    failed: Option<String>,
    /// The beginning of a record.
    rest: Vec<u8>,
}

fn receive(machine: &mut Machine, stream: &[u8], mut cut: impl FnMut() -> usize) -> Heard {
    let (mut heard, mut held, mut rest) = (Heard::default(), Vec::new(), stream);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(cut().min(rest.len()));
        held.extend_from_slice(piece);
        rest = behind;
        let mut at = 0;
        while at < held.len() {
            let len = held.len() - at;
            let consumed = match machine.open(&mut held[at..]) {
                Said::Need(need) => {
                    assert!(need > len && need <= 5 + 16_384 + 2_048, "{need} of {len}");
                    break;
                }
                Said::Data(plain, consumed) => {
                    assert!(plain.end <= consumed);
                    heard.plain.extend_from_slice(&held[at..][plain]);
                    consumed
                }
                Said::Control(consumed) | Said::Established(consumed) => consumed,
                Said::Closed(_) => {
                    heard.closed = true;
                    return heard;
                }
                Said::Fail(_, reason) => {
                    heard.failed = Some(reason);
                    return heard;
                }
            };
            assert!(consumed > 0 && consumed <= len);
            heard.records += 1;
            at += consumed;
        }
        held.drain(..at);
    }
    heard.rest = held;
    heard
}

fn theirs(rustls: &mut Connection, stream: &[u8]) -> (Vec<u8>, Option<Error>) {
    let (mut plain, mut cursor) = (Vec::new(), Cursor::new(stream));
    loop {
        let read = rustls.read_tls(&mut cursor).expect("from memory");
        let processed = rustls.process_new_packets();
        // The end of what is there is said as an error.
        let _ = rustls.reader().read_to_end(&mut plain);
        match processed {
            Err(error) => return (plain, Some(error)),
            Ok(_) if read == 0 => return (plain, None),
            Ok(_) => {}
        }
    }
}

/// A stream, and whether it has something in it that we take and rustls does not.
struct Script {
    stream: Vec<u8>,
    excused: bool,
}

fn script(sender: &mut Machine, input: &mut Input<'_>, is_13: bool) -> Script {
    let mut script = Script { stream: Vec::new(), excused: false };
    let mut alerts = 0;
    let mut room = vec![0; 17_000];
    for _ in 0..RECORDS_MAX {
        if input.rest().is_empty() {
            break;
        }
        let call = input.byte() % 16;
        let (kind, content) = match call {
            0..=4 => (DATA, content(input)),
            5 => padded(input),
            6 if alerts < ALERTS_MAX => {
                alerts += 1;
                (ALERT, vec![1 + input.byte() % 3, input.byte()])
            }
            7 => (HANDSHAKE, vec![24, 0, 0, 1, input.byte() % 3]),
            8 | 9 => (HANDSHAKE, few(input)),
            10 => (input.byte(), few(input)),
            11 => (CCS, vec![1]),
            12 => {
                script.stream.extend(few(input));
                continue;
            }
            _ => (DATA, Vec::new()),
        };
        if kind == HANDSHAKE && content.is_empty() {
            // rustls 0.23.46 panics when close_notify follows an empty handshake record. We refuse
            // these; a unit test has it.
            continue;
        }
        // TLS 1.2: we refuse renegotiation by its type, rustls reads all of the message first.
        script.excused |= !is_13 && kind == HANDSHAKE;
        // RFC 8446 §6: the level of an alert can be ignored. rustls ends at a fatal user_canceled.
        script.excused |= is_13 && kind == ALERT && content == [2, 90];
        let Some(len) = sender.forge(kind, &content, &mut room) else { continue };
        let mut record = room[..len].to_vec();
        if call == 13 {
            damage(&mut record, input, is_13);
        }
        script.stream.extend(record);
        if call == 7 && input.byte() & 7 != 7 {
            sender.turn_key();
        }
    }
    script
}

/// Changes a byte, but not type and version in a header of TLS 1.3: rustls does not look at them
/// and puts what they should be under the tag; we put what they are.
fn damage(record: &mut [u8], input: &mut Input<'_>, is_13: bool) {
    let at = input.size() % record.len();
    if !is_13 || at > 2 {
        record[at] ^= input.byte();
    }
}

fn content(input: &mut Input<'_>) -> Vec<u8> {
    let len = input.number() % CONTENT_LEN_MAX;
    (0..len).map(|i| (i * 7) as u8).collect()
}

fn few(input: &mut Input<'_>) -> Vec<u8> {
    let len = usize::from(input.byte() % 40);
    (0..len).map(|_| input.byte()).collect()
}

/// TLS 1.3: the type that is given is the last byte of padding.
fn padded(input: &mut Input<'_>) -> (u8, Vec<u8>) {
    let mut bytes = few(input);
    bytes.push(DATA);
    bytes.resize(bytes.len() + input.size() % 600, 0);
    (0, bytes)
}

type Configs = Vec<(Arc<ClientConfig>, Arc<ServerConfig>)>;

fn configs() -> &'static Configs {
    static CONFIGS: OnceLock<Configs> = OnceLock::new();
    CONFIGS.get_or_init(|| SUITES.map(config).to_vec())
}

fn config(suite: SupportedCipherSuite) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let version = match suite.tls13() {
        Some(_) => &rustls::version::TLS13,
        None => &rustls::version::TLS12,
    };
    let (cert, key) = identity();
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).expect("a root");
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![suite],
        kx_groups: vec![&Fixed],
        secure_random: &Fixed,
        ..default_provider()
    });
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .expect("a pair");
    server.enable_secret_extraction = true;
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    client.resumption = rustls::client::Resumption::disabled();
    (Arc::new(client), Arc::new(server))
}

/// Ed25519, whose signatures have no randomness, from a fixed seed.
pub(crate) fn identity() -> (rustls::pki_types::CertificateDer<'static>, PrivateKeyDer<'static>) {
    // RFC 8410 §7: the PKCS #8 form of a private key.
    let mut pkcs8 = vec![0x30, 0x2E, 2, 1, 0, 0x30, 5, 6, 3, 0x2B, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend([7; 32]);
    let der = PrivatePkcs8KeyDer::from(pkcs8);
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519);
    let params = rcgen::CertificateParams::new([NAME.to_string()]).expect("a name");
    let cert = params.self_signed(&key.expect("a key")).expect("a certificate");
    (cert.der().clone(), PrivateKeyDer::Pkcs8(der))
}

/// Randomness and key exchange without any.
#[derive(Debug)]
struct Fixed;

const SECRET: [u8; 32] = [9; 32];

impl SecureRandom for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        bytes.fill(0x42);
        Ok(())
    }
}

impl SupportedKxGroup for Fixed {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Self))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Fixed {
    fn complete(self: Box<Self>, _: &[u8]) -> Result<SharedSecret, Error> {
        Ok(SharedSecret::from(&SECRET[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &SECRET
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}
