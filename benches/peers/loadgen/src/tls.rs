//! TLS 1.3 for the generator: the handshake is rustls', the records after it are sealed and counted here.
//!
//! The generator must cost less than any server. So requests are sealed straight from the shared payload, and of the
//! answers only the headers are read: their lengths tell the payload. One record in [`OPENED_EVERY`] is opened, and must
//! be good. Certificates are not verified: that would cost a client more than the whole handshake costs a server.
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_128_GCM};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::Resumption;
use rustls::crypto::{aws_lc_rs as aws, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, DigitallySignedStruct, Error,
    SignatureScheme,
};
use std::sync::Arc;

const HEADER: usize = 5;
const TAG: usize = 16;
/// Inner content type and tag.
const TAIL: usize = 1 + TAG;
const RECORD_MAX: usize = 16_384;
const APPLICATION_DATA: u8 = 23;
const OPENED_EVERY: u64 = 64;
/// Tickets that a client keeps: more than it has connections under way.
const TICKETS: usize = 4096;

#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// TLS 1.3, one suite, one group: whatever a server prefers, all do the same work.
pub fn config(resume: bool) -> Arc<ClientConfig> {
    let provider = CryptoProvider {
        cipher_suites: vec![aws::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws::kx_group::X25519],
        ..aws::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified))
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config.resumption = match resume {
        true => Resumption::in_memory_sessions(TICKETS),
        false => Resumption::disabled(),
    };
    Arc::new(config)
}

pub fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::clone(config), name).expect("a connection")
}

struct Half {
    key: LessSafeKey,
    iv: [u8; 12],
    seq: u64,
}

impl Half {
    fn new((seq, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            panic!("not AES-128-GCM")
        };
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.as_ref()).expect("a key"));
        Half { key, iv: iv.as_ref().try_into().expect("12 bytes"), seq }
    }

    /// Of the next record.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.seq.to_be_bytes()).for_each(|(a, b)| *a ^= b);
        self.seq += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

fn header(body: usize) -> [u8; HEADER] {
    [APPLICATION_DATA, 3, 3, (body >> 8) as u8, body as u8]
}

/// An established connection.
pub struct Tls {
    tx: Half,
    rx: Half,
    sealed: Vec<u8>,
    head: [u8; HEADER],
    head_len: usize,
    body_len: usize,
    body_left: usize,
}

impl Tls {
    /// Takes over after the handshake and one exchange, when nothing of the server is on its way any more.
    pub fn new(done: ClientConnection) -> Self {
        let secrets = done.dangerous_extract_secrets().expect("secrets");
        Tls {
            tx: Half::new(secrets.tx),
            rx: Half::new(secrets.rx),
            sealed: Vec::new(),
            head: [0; HEADER],
            head_len: 0,
            body_len: 0,
            body_left: 0,
        }
    }

    /// Seals all of `plain`. The bytes stay where they are until the next call.
    pub fn seal(&mut self, plain: &[u8]) -> (*const u8, usize) {
        let len = plain.len() + plain.len().div_ceil(RECORD_MAX) * (HEADER + TAIL);
        if self.sealed.len() < len {
            self.sealed.resize(len, 0);
        }
        let mut out = &mut self.sealed[..len];
        for piece in plain.chunks(RECORD_MAX) {
            let (record, rest) = out.split_at_mut(HEADER + piece.len() + TAIL);
            let (head, body) = record.split_at_mut(HEADER);
            let (text, tail) = body.split_at_mut(piece.len());
            head.copy_from_slice(&header(piece.len() + TAIL));
            let aad = Aad::from(header(piece.len() + TAIL));
            let nonce = self.tx.nonce();
            self.tx
                .key
                .seal_out_of_place_scatter(nonce, aad, piece, text, &[APPLICATION_DATA], tail)
                .expect("sealed");
            out = rest;
        }
        (self.sealed.as_ptr(), len)
    }

    /// Bytes of payload in the records that these bytes complete.
    pub fn take(&mut self, mut bytes: &[u8]) -> usize {
        let mut payload = 0;
        while !bytes.is_empty() {
            if self.body_left == 0 {
                let n = (HEADER - self.head_len).min(bytes.len());
                self.head[self.head_len..self.head_len + n].copy_from_slice(&bytes[..n]);
                self.head_len += n;
                bytes = &bytes[n..];
                if self.head_len < HEADER {
                    break;
                }
                self.begin(bytes);
            }
            let n = self.body_left.min(bytes.len());
            bytes = &bytes[n..];
            self.body_left -= n;
            if self.body_left == 0 {
                payload += self.body_len - TAIL;
            }
        }
        payload
    }

    /// A header is whole; `bytes` follow it.
    fn begin(&mut self, bytes: &[u8]) {
        assert!(self.head[..3] == [APPLICATION_DATA, 3, 3], "not a record: {:?}", self.head);
        self.head_len = 0;
        self.body_len = u16::from_be_bytes([self.head[3], self.head[4]]) as usize;
        assert!(self.body_len > TAIL, "an empty record");
        self.body_left = self.body_len;
        let due = self.rx.seq.is_multiple_of(OPENED_EVERY) && bytes.len() >= self.body_len;
        let nonce = self.rx.nonce();
        if due {
            let mut body = bytes[..self.body_len].to_vec();
            let plain = self
                .rx
                .key
                .open_in_place(nonce, Aad::from(self.head), &mut body)
                .expect("a good record");
            assert!(plain.last() == Some(&APPLICATION_DATA), "not payload");
        }
    }
}
