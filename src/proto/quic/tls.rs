//! TLS of QUIC: RFC 9001. The handshake is rustls', in the form that the machine asks for.
//!
//! Role: carries handshake bytes, keys and transport parameters between the two. Not role: who is
//! trusted and what is agreed on, which the configuration has decided.
//!
//! *Invariant*: nothing here panics, whatever a configuration or a peer has in it: what cannot
//! begin says so at its first byte.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::aead;
use quinn_proto::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::pki_types::ServerName;
use rustls::quic::{
    ClientConnection, Connection, DirectionalKeys, KeyChange, Secrets, ServerConnection, Suite,
    Version,
};
use rustls::{ClientConfig, ServerConfig};

use super::first_keys::{self, FirstKeys};
use super::parts::VERSION;
use super::remembered;
use crate::config::{Tickets, TlsInfo};

/// RFC 9001 §5.8: the key and the nonce of the tags of Retry packets.
const RETRY_KEY: [u8; 16] = [
    0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e,
];
const RETRY_NONCE: [u8; 12] =
    [0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb];
pub(super) const TAG_LEN: usize = 16;
/// What transport parameters take, about.
const PARAMS_LEN: usize = 256;

/// The application protocol, once the server has chosen one.
pub(super) struct Agreed(pub(super) Option<Vec<u8>>);

/// For one connection of our own.
pub(super) struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    pub(super) tickets: Arc<Tickets>,
    /// What Initial packets are sealed with.
    pub(super) initial: Suite,
    /// Bytes that may be sent early.
    pub(super) early_max: u64,
}

/// For the connections of a listener.
pub(super) struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) first: Arc<FirstKeys>,
}

impl crypto::ClientConfig for ClientTls {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        _: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        require_version(version)?;
        let (config, name) = (Arc::clone(&self.config), self.name.clone());
        let connection = ClientConnection::new(config, Version::V1, name, encoded(params));
        let connection = connection.map_err(|_| ConnectError::NoDefaultClientConfig)?;
        Ok(Box::new(Tls::new(Some(Connection::Client(connection)), Whose::Client(self))))
    }
}

impl crypto::ServerConfig for ServerTls {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        require_version(version)?;
        Ok(self.first.make(dst_cid))
    }

    fn retry_tag(&self, _: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; TAG_LEN] {
        let pseudo = pseudo_packet(orig_dst_cid, &[packet]);
        let sealed = retry_key().and_then(|key| {
            let nonce = aead::Nonce::assume_unique_for_key(RETRY_NONCE);
            key.seal_in_place_separate_tag(nonce, aead::Aad::from(pseudo), &mut []).ok()
        });
        // A tag that is wrong is a Retry that the client ignores.
        sealed.and_then(|tag| tag.as_ref().try_into().ok()).unwrap_or_default()
    }

    fn start_session(
        self: Arc<Self>,
        _: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        let config = Arc::clone(&self.config);
        let connection = ServerConnection::new(config, Version::V1, encoded(params));
        let first = Arc::clone(&self.first);
        Box::new(Tls::new(connection.ok().map(Connection::Server), Whose::Server(first)))
    }
}

/// The handshake of one connection, and the keys that come of it.
struct Tls {
    /// `None`: it could not begin.
    inner: Option<Connection>,
    next: Option<Secrets>,
    whose: Whose,
    /// Of a client that may send early: how much the machine was told that the server takes.
    lent: OnceLock<u64>,
}

/// Whose handshake it is.
enum Whose {
    Client(Arc<ClientTls>),
    Server(Arc<FirstKeys>),
}

impl Whose {
    fn client(&self) -> Option<&ClientTls> {
        match self {
            Self::Client(client) => Some(client),
            Self::Server(_) => None,
        }
    }
}

impl Tls {
    const fn new(inner: Option<Connection>, whose: Whose) -> Self {
        Self { inner, next: None, whose, lent: OnceLock::new() }
    }

    const fn side(&self) -> Side {
        match self.whose {
            Whose::Client(_) => Side::Client,
            Whose::Server(_) => Side::Server,
        }
    }

    /// RFC 9000 §7.4.1: what was remembered is forgotten where early data is refused. The machine
    /// keeps what it was told of the connection's window, if that was more: it would send too much.
    fn check_lent(&self, params: &[u8]) -> Result<(), TransportError> {
        let is_more = self.lent.get().is_some_and(|lent| *lent > remembered::max_data(params));
        if !is_more || crypto::Session::early_data_accepted(self) == Some(true) {
            return Ok(());
        }
        let reason = "early data was refused, and the server's window is smaller than that was";
        Err(failed(TransportErrorCode::INTERNAL_ERROR, reason.into()))
    }

    /// The name that the client asked for.
    fn server_name(&self) -> Option<&str> {
        match (&self.inner, self.whose.client()) {
            (_, Some(ClientTls { name: ServerName::DnsName(name), config, .. })) => {
                config.enable_sni.then_some(name.as_ref())
            }
            (Some(Connection::Server(server)), _) => server.server_name(),
            _ => None,
        }
    }
}

impl crypto::Session for Tls {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        match &self.whose {
            Whose::Client(client) => first_keys::initial(&client.initial, dst_cid, side),
            Whose::Server(first) => first.take(dst_cid),
        }
    }

    /// An [`Agreed`].
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(Agreed(self.inner.as_ref()?.alpn_protocol().map(<[u8]>::to_vec))))
    }

    /// A [`TlsInfo`].
    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(TlsInfo::of(self.inner.as_ref()?, self.server_name())?))
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        let DirectionalKeys { header, packet, .. } = self.inner.as_ref()?.zero_rtt_keys()?;
        Some((Box::new(header), Box::new(packet)))
    }

    fn early_data_accepted(&self) -> Option<bool> {
        match self.inner.as_ref()? {
            Connection::Client(client) => Some(client.is_early_data_accepted()),
            Connection::Server(_) => None,
        }
    }

    fn is_handshaking(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.is_handshaking())
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let Some(inner) = &mut self.inner else {
            return Err(failed(TransportErrorCode::INTERNAL_ERROR, "TLS could not begin".into()));
        };
        if let Err(error) = inner.read_hs(buf) {
            // RFC 9001 §4.8: the alert is the code.
            let code = inner.alert().map(|alert| TransportErrorCode::crypto(alert.into()));
            let code = code.unwrap_or(TransportErrorCode::PROTOCOL_VIOLATION);
            return Err(failed(code, error.to_string()));
        }
        if let Some(client) = self.whose.client().filter(|_| !inner.is_handshaking()) {
            client.tickets.agreed(inner.alpn_protocol());
        }
        // Whoever wants to know what was agreed on asks when the handshake is done.
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let params = self.inner.as_ref().and_then(Connection::quic_transport_parameters);
        let Some(mut params) = params else { return Ok(None) };
        let Some(client) = self.whose.client() else {
            return Ok(Some(TransportParameters::read(self.side(), &mut params)?));
        };
        if self.is_handshaking() {
            let lent = remembered::max_data(params).min(client.early_max);
            let params = remembered::with_max_data(params, *self.lent.get_or_init(|| lent));
            return Ok(Some(TransportParameters::read(self.side(), &mut &*params)?));
        }
        self.check_lent(params)?;
        Ok(Some(TransportParameters::read(self.side(), &mut params)?))
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        Some(match self.inner.as_mut()?.write_hs(buf)? {
            KeyChange::Handshake { keys } => first_keys::of_handshake(keys),
            KeyChange::OneRtt { keys, next } => {
                self.next = Some(next);
                both(keys)
            }
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        Some(KeyPair { local: Box::new(keys.local), remote: Box::new(keys.remote) })
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        is_valid_retry(orig_dst_cid, &[header, payload].concat())
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        let inner = self.inner.as_ref().ok_or(ExportKeyingMaterialError)?;
        let exported = inner.export_keying_material(output, label, Some(context));
        exported.map(drop).map_err(|_| ExportKeyingMaterialError)
    }
}

const fn require_version(version: u32) -> Result<(), UnsupportedVersion> {
    if version == VERSION { Ok(()) } else { Err(UnsupportedVersion) }
}

fn encoded(params: &TransportParameters) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PARAMS_LEN);
    params.write(&mut bytes);
    bytes
}

const fn failed(code: TransportErrorCode, reason: String) -> TransportError {
    TransportError { code, frame: None, reason }
}

fn both(keys: rustls::quic::Keys) -> Keys {
    let (local, remote) = (keys.local, keys.remote);
    Keys {
        header: KeyPair { local: Box::new(local.header), remote: Box::new(remote.header) },
        packet: KeyPair { local: Box::new(local.packet), remote: Box::new(remote.packet) },
    }
}

/// RFC 9001 §5.8: the Retry packet behind the connection id that the client had chosen.
fn pseudo_packet(orig_dst_cid: &ConnectionId, packet: &[&[u8]]) -> Vec<u8> {
    let mut pseudo = vec![orig_dst_cid.len() as u8];
    pseudo.extend_from_slice(orig_dst_cid);
    packet.iter().for_each(|part| pseudo.extend_from_slice(part));
    pseudo
}

/// Whether that whole Retry packet answers one to that id: its integrity tag (RFC 9001 §5.8).
pub(super) fn is_valid_retry(first: &ConnectionId, packet: &[u8]) -> bool {
    let Some((packet, tag)) = packet.split_last_chunk::<TAG_LEN>() else { return false };
    let pseudo = pseudo_packet(first, &[packet]);
    let nonce = aead::Nonce::assume_unique_for_key(RETRY_NONCE);
    retry_key().is_some_and(|key| {
        key.open_in_place(nonce, aead::Aad::from(pseudo), &mut tag.clone()).is_ok()
    })
}

fn retry_key() -> Option<aead::LessSafeKey> {
    aead::UnboundKey::new(&aead::AES_128_GCM, &RETRY_KEY).ok().map(aead::LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::quic::parts::initial_suite;

    fn first() -> Arc<FirstKeys> {
        Arc::new(FirstKeys::new(initial_suite().unwrap()))
    }

    fn server() -> ServerTls {
        let tls = crate::proto::quic::tests::server_tls();
        ServerTls { config: Arc::clone(tls.rustls()), first: first() }
    }

    /// The packet of RFC 9001 §A.4.
    #[test]
    fn the_tag_of_a_retry_is_as_in_rfc_9001() {
        use crypto::ServerConfig as _;
        let cid = ConnectionId::new(&[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08]);
        let packet = b"\xff\0\0\0\x01\0\x08\xf0\x67\xa5\x50\x2a\x42\x62\xb5token";
        let tag = server().retry_tag(VERSION, &cid, packet);
        let expected = *b"\x04\xa2\x65\xba\x2e\xff\x4d\x82\x90\x58\xfb\x3f\x0f\x24\x96\xba";
        assert_eq!(tag, expected);
        let session = Tls::new(None, Whose::Server(first()));
        let payload = [&b"token"[..], &tag].concat();
        use crypto::Session as _;
        assert!(session.is_valid_retry(&cid, &packet[..15], &payload));
        assert!(!session.is_valid_retry(&cid, &packet[..14], &payload));
        assert!(!session.is_valid_retry(&cid, &packet[..15], b"short"));
    }

    #[test]
    fn what_could_not_begin_says_so() {
        use crypto::Session as _;
        let mut session = Tls::new(None, Whose::Server(first()));
        let error = session.read_handshake(b"x").unwrap_err();
        assert_eq!(error.code, TransportErrorCode::INTERNAL_ERROR);
        assert!(session.is_handshaking() && session.handshake_data().is_none());
        assert!(session.write_handshake(&mut Vec::new()).is_none());
        assert!(session.next_1rtt_keys().is_none() && session.early_crypto().is_none());
        assert!(session.transport_parameters().unwrap().is_none());
        assert!(session.peer_identity().is_none() && session.early_data_accepted().is_none());
    }

    #[test]
    fn other_versions_are_not_known() {
        use crypto::ServerConfig as _;
        let cid = ConnectionId::new(&[1; 8]);
        assert!(server().initial_keys(VERSION, &cid).is_ok());
        assert!(server().initial_keys(0x6b33_43cf, &cid).is_err());
    }
}
