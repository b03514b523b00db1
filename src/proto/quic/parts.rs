//! Configuration as the machine takes it.
//!
//! *Invariant*: nothing is left at the machine's own defaults, which may change, and some of which
//! draw entropy, take locks or bound nothing.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::{hkdf, hmac};
use quinn_proto::congestion::{ControllerFactory, CubicConfig, NewRenoConfig};
use quinn_proto::{
    AckFrequencyConfig, ClientConfig, ConnectionId, EndpointConfig, IdleTimeout,
    MtuDiscoveryConfig, NoneTokenStore, ServerConfig, TransportConfig, ValidationTokenConfig,
    VarInt,
};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::Suite;
use zeroize::Zeroize;

use super::cid::{Draws, Generator};
use super::endpoint::Endpoint;
use super::first_keys::FirstKeys;
use super::pacer::Reins;
use super::resume::Past;
use super::time::Wall;
use super::tls::{ClientTls, ServerTls};
use super::tokens::{Tokens, Used};
use super::{bbr, meter, qlog};
use crate::config::{
    Congestion, DatagramsFull, QuicCids, QuicConnectConfig, QuicKeys, QuicListenConfig,
    QuicReceive, QuicTransport, Tickets, Toggle,
};
use crate::error::{IoError, Result, TlsConfigFault};

/// QUIC version 1, RFC 9000 §15.
pub(super) const VERSION: u32 = 1;
/// What fits a receive buffer, which is what a UDP datagram can have.
const UDP_PAYLOAD_MAX: u16 = 65_527;
/// Stateless resets are this far apart at the least: RFC 9000 §10.3.3 wants loops to end.
const RESET_INTERVAL: Duration = Duration::from_millis(20);
/// What a client may send before its first packet was looked at, each and all together.
const INCOMING_BYTES: u64 = 64 << 10;
const INCOMING_BYTES_TOTAL: u64 = 4 << 20;
/// Out-of-order handshake bytes that are kept: RFC 9000 §7.5 asks for at least 4096.
const CRYPTO_BUFFER_LEN: usize = 16 << 10;

/// What one endpoint has that nobody may guess.
pub(crate) struct Secrets {
    /// Of the machine's own draws, of our connection ids, and of the first ones of servers that we
    /// connect to.
    seeds: [[u8; 32]; 3],
    keys: QuicKeys,
}

impl Secrets {
    /// Draws seeds, and keys unless there are some.
    pub(crate) fn draw(
        keys: Option<&QuicKeys>,
        mut fill: impl FnMut(&mut [u8]) -> Result<()>,
    ) -> Result<Self> {
        let mut seeds = [[0; 32]; 3];
        seeds.iter_mut().try_for_each(|seed| fill(seed))?;
        let mut drawn = [0; QuicKeys::LEN];
        let keys = match keys {
            Some(keys) => keys.clone(),
            None => {
                fill(&mut drawn)?;
                QuicKeys::from_bytes(&drawn)
            }
        };
        drawn.zeroize();
        Ok(Self { seeds, keys })
    }

    /// A number that follows from them, and from which they do not.
    fn number(&self) -> u64 {
        let [seed, ..] = &self.seeds;
        let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
        let tag = hmac::sign(&key, b"congestion control");
        u64::from_le_bytes(tag.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.seeds.zeroize();
    }
}

/// What the driver itself needs to know of a connection's configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) ecn: bool,
    pub(super) gso: bool,
    /// The application asks for the bytes of streams.
    pub(super) is_pull: bool,
    /// Ours; the peer's is another matter.
    pub(super) has_datagrams: bool,
    pub(super) when_full: DatagramsFull,
    /// Bytes of datagrams that may wait to be sent.
    pub(super) datagrams_max: usize,
    /// Bytes of early data. Until the handshake is done they stay in flight, and the machine sends
    /// no ClientHello again that does not fit into the congestion window beside them: so there must
    /// be room for it, also after the window was halved.
    pub(super) early_max: usize,
    /// Of a server: where it would rather be.
    pub(super) preferred: (Option<Ipv4Addr>, Option<Ipv6Addr>),
}

impl How {
    fn new(transport: &QuicTransport) -> Self {
        let datagrams = transport.datagrams.unwrap_or_default();
        Self {
            ecn: transport.ecn,
            gso: transport.gso != Toggle::Off,
            is_pull: transport.receive == QuicReceive::Pull,
            has_datagrams: transport.datagrams.is_some(),
            when_full: datagrams.when_full,
            datagrams_max: datagrams.send_bytes as usize,
            early_max: early_max(transport) as usize,
            preferred: (None, None),
        }
    }
}

/// What an endpoint is made of.
pub(crate) struct EndpointParts {
    pub(super) endpoint: Arc<EndpointConfig>,
    pub(super) server: Option<(Arc<ServerConfig>, How)>,
    /// What each accepted connection has of its own.
    pub(super) own: Option<Own>,
    /// Of the first connection ids of servers.
    pub(super) draws: Draws,
}

impl EndpointParts {
    /// For a socket that takes connections.
    pub(crate) fn listen(
        config: &QuicListenConfig,
        secrets: &Secrets,
        wall: &Arc<Wall>,
    ) -> Result<Self> {
        let server = server(config, secrets, wall)?;
        let preferred = (config.preferred_v4, config.preferred_v6);
        let preferred = (preferred.0.map(|v4| *v4.ip()), preferred.1.map(|v6| *v6.ip()));
        let how = How { preferred, ..How::new(&config.transport) };
        let server = Some((Arc::new(server), how));
        let own = Own::new(&config.transport, secrets.number());
        Ok(Self { own, ..Self::new(&config.cids, secrets, server)? })
    }

    /// For a socket that connects only.
    pub(crate) fn connect(secrets: &Secrets) -> Result<Self> {
        Self::new(&QuicCids::default(), secrets, None)
    }

    fn new(
        cids: &QuicCids,
        secrets: &Secrets,
        server: Option<(Arc<ServerConfig>, How)>,
    ) -> Result<Self> {
        let [_, _, seed] = &secrets.seeds;
        let draws = Draws::new(seed);
        Ok(Self { endpoint: Arc::new(endpoint(cids, secrets)?), server, own: None, draws })
    }
}

/// What an outgoing connection is made of.
pub(crate) struct ClientParts {
    pub(super) config: ClientConfig,
    pub(super) how: How,
    pub(super) own: Option<Own>,
    /// Whom the server's certificate must be for.
    pub(super) name: String,
    pub(super) tickets: Arc<Tickets>,
    /// Where its first packets go.
    pub(super) first: ConnectionId,
}

impl ClientParts {
    /// For a connection of `endpoint`.
    pub(crate) fn new(
        config: &QuicConnectConfig,
        endpoint: &Endpoint,
        past: &mut Past,
    ) -> Result<Self> {
        let initial = initial_suite()?;
        let server_name = config.tls.server_name_for(Some(&config.target))?;
        let name = server_name.to_str().into_owned();
        let ticket = past.ticket(&name, config.ticket.as_ref());
        let time = Arc::<Wall>::clone(&past.wall);
        let (tls, tickets) = config.tls.quic(&server_name, ticket, config.early_data, time);
        let mut client = ClientConfig::new(Arc::new(ClientTls {
            config: tls,
            name: server_name,
            tickets: Arc::clone(&tickets),
            initial,
            early_max: early_max(&config.transport),
        }));
        let (seed, first) = (endpoint.draws().number(), endpoint.draws().cid());
        client.initial_dst_cid_provider(Arc::new(move || first));
        client.transport_config(Arc::new(transport(&config.transport, seed, &Arc::default())?));
        match config.new_tokens {
            true => client.token_store(Arc::<Tokens>::clone(&past.tokens)),
            false => client.token_store(Arc::new(NoneTokenStore)),
        };
        client.version(VERSION);
        let own = Own::new(&config.transport, seed);
        Ok(Self { config: client, how: How::new(&config.transport), own, name, tickets, first })
    }
}

/// What is made anew for each connection that has a log, or a controller that names a rate.
pub(super) struct Own {
    transport: Box<QuicTransport>,
    seed: AtomicU64,
}

impl Own {
    fn new(transport: &QuicTransport, seed: u64) -> Option<Self> {
        let is_paced = transport.congestion == Congestion::Bbr;
        (is_paced || transport.qlog.is_some())
            .then(|| Self { transport: Box::new(transport.clone()), seed: AtomicU64::new(seed) })
    }

    /// The configuration of a connection that begins now, and what its pacer and its controllers
    /// have in common, if it is paced.
    pub(super) fn begin(
        &self,
        is_server: bool,
        peer: SocketAddr,
        now: Instant,
    ) -> Result<(Arc<TransportConfig>, Option<Arc<Reins>>)> {
        let (from, reins) = (&self.transport, Arc::default());
        let mut to = transport(from, self.seed.fetch_add(1, Ordering::Relaxed), &reins)?;
        if let Some(log) = &from.qlog {
            qlog::attach(&mut to, log, is_server, peer, now);
        }
        Ok((Arc::new(to), (from.congestion == Congestion::Bbr).then_some(reins)))
    }
}

fn endpoint(cids: &QuicCids, secrets: &Secrets) -> Result<EndpointConfig> {
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &secrets.keys.reset);
    let mut config = EndpointConfig::new(Arc::new(reset));
    let [seed, cid_seed, _] = secrets.seeds;
    let (cids, key) = (cids.clone(), secrets.keys.cid);
    config.cid_generator(move || Box::new(Generator::new(&cids, &key, &cid_seed)));
    config.max_udp_payload_size(UDP_PAYLOAD_MAX).map_err(|_| out_of_range("UDP payload"))?;
    config.supported_versions(vec![VERSION]);
    config.grease_quic_bit(true);
    config.min_reset_interval(RESET_INTERVAL);
    config.rng_seed(Some(seed));
    Ok(config)
}

fn server(config: &QuicListenConfig, secrets: &Secrets, wall: &Arc<Wall>) -> Result<ServerConfig> {
    let time = Arc::<Wall>::clone(wall);
    let tls = config.tls.quic(config.early_data, &remembered_limits(config), time);
    let crypto = ServerTls { config: tls, first: Arc::new(FirstKeys::new(initial_suite()?)) };
    let token = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&secrets.keys.token);
    let mut server = ServerConfig::new(Arc::new(crypto), Arc::new(token));
    let shared = transport(&config.transport, secrets.number(), &Arc::default())?;
    server.transport_config(Arc::new(shared));
    server.retry_token_lifetime(config.retry_token_lifetime);
    server.migration(config.migration);
    server.preferred_address_v4(config.preferred_v4).preferred_address_v6(config.preferred_v6);
    server.max_incoming(config.incoming_max);
    server.incoming_buffer_size(INCOMING_BYTES);
    server.incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    server.time_source(Arc::<Wall>::clone(wall));
    let mut tokens = ValidationTokenConfig::default();
    tokens.log(Arc::new(Used(Arc::clone(&secrets.keys.used))));
    tokens.sent(config.new_tokens).lifetime(config.new_token_lifetime);
    server.validation_token_config(tokens);
    Ok(server)
}

/// What clients remember of us with a ticket, and send early data by. RFC 9000 §7.4.1: "If 0-RTT
/// data is accepted by the server, the server MUST NOT reduce any limits or alter any values that
/// might be violated by the client with its 0-RTT data." So sessions are found again where these
/// are the same.
fn remembered_limits(config: &QuicListenConfig) -> Vec<u8> {
    let limits = &config.transport;
    let datagrams = limits.datagrams.map_or(0, |datagrams| datagrams.recv_bytes);
    let limits = [
        limits.stream_window,
        limits.conn_window,
        limits.max_bidi_streams,
        limits.max_uni_streams,
        datagrams,
        u32::from(config.migration),
    ];
    [&b"quic"[..], limits.map(u32::to_be_bytes).as_flattened()].concat()
}

fn transport(from: &QuicTransport, seed: u64, reins: &Arc<Reins>) -> Result<TransportConfig> {
    if from.qlog.is_some() && !qlog::IS_BUILT {
        let why = "the build lacks the feature quic-qlog";
        return Err(IoError::InvalidArgument { what: "QuicTransport::qlog", why });
    }
    let mut to = TransportConfig::default();
    let idle = from.idle_timeout.map(IdleTimeout::try_from).transpose();
    to.max_idle_timeout(idle.map_err(|_| out_of_range("idle timeout"))?);
    to.keep_alive_interval(from.keep_alive);
    to.max_concurrent_bidi_streams(VarInt::from_u32(from.max_bidi_streams));
    to.max_concurrent_uni_streams(VarInt::from_u32(from.max_uni_streams));
    to.stream_receive_window(VarInt::from_u32(from.stream_window));
    to.receive_window(VarInt::from_u32(from.conn_window));
    to.send_window(from.send_window.into());
    to.send_fairness(from.fair);
    // RFC 9002 §6.1.1, §6.1.2 and §7.6.1 recommend these.
    to.packet_threshold(3).time_threshold(9.0 / 8.0).persistent_congestion_threshold(3);
    to.initial_rtt(from.initial_rtt);
    to.min_mtu(1200).initial_mtu(from.initial_mtu);
    to.mtu_discovery_config(from.mtu_discovery.map(|from| {
        let mut to = MtuDiscoveryConfig::default();
        to.interval(from.interval).upper_bound(from.max).minimum_change(20);
        to.black_hole_cooldown(from.black_hole_cooldown);
        to
    }));
    to.pad_to_mtu(false);
    to.ack_frequency_config(from.ack_frequency.map(|from| {
        let mut to = AckFrequencyConfig::default();
        to.ack_eliciting_threshold(VarInt::from_u32(from.threshold));
        to.max_ack_delay(from.max_delay);
        to.reordering_threshold(VarInt::from_u32(from.reordering));
        to
    }));
    to.crypto_buffer_size(CRYPTO_BUFFER_LEN);
    to.allow_spin(from.spin_bit);
    to.datagram_receive_buffer_size(from.datagrams.map(|d| d.recv_bytes as usize));
    to.datagram_send_buffer_size(from.datagrams.map_or(0, |d| d.send_bytes as usize));
    to.congestion_controller_factory(Arc::new(meter::Factory::new(congestion(from, seed, reins))));
    // How many go into a train is said at each transmit.
    to.enable_segmentation_offload(true);
    Ok(to)
}

/// RFC 9002 §7.2: "ten times the maximum datagram size [..], while limiting the window to the
/// larger of 14,720 bytes or twice the maximum datagram size". With less than two datagrams the
/// machine would send none.
fn initial_window(from: &QuicTransport) -> u64 {
    let mtu = u64::from(from.initial_mtu);
    let default = (10 * mtu).min(14_720.max(2 * mtu));
    from.initial_window.map_or(default, u64::from).max(2 * mtu + 1)
}

/// What may be sent early: the rest of the window is the handshake's.
fn early_max(from: &QuicTransport) -> u64 {
    initial_window(from) / 4
}

/// `seed` is of what is random in it.
fn congestion(
    from: &QuicTransport,
    seed: u64,
    reins: &Arc<Reins>,
) -> Arc<dyn ControllerFactory + Send + Sync> {
    let window = initial_window(from);
    match from.congestion {
        Congestion::NewReno => {
            let mut reno = NewRenoConfig::default();
            reno.initial_window(window).loss_reduction_factor(0.5);
            Arc::new(reno)
        }
        Congestion::Cubic => {
            let mut cubic = CubicConfig::default();
            cubic.initial_window(window);
            Arc::new(cubic)
        }
        Congestion::Bbr => Arc::new(bbr::Factory::new(window, seed, Arc::clone(reins))),
    }
}

/// RFC 9001 §5.2: Initial packets are under AES-128-GCM, whatever is negotiated later.
pub(super) fn initial_suite() -> Result<Suite> {
    TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite()).ok_or_else(no_suite)
}

const fn no_suite() -> IoError {
    IoError::TlsConfig { fault: TlsConfigFault::NoCipherSuite, line: 0 }
}

const fn out_of_range(what: &'static str) -> IoError {
    IoError::InvalidArgument { what, why: "the configuration was not validated" }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use super::*;
    use crate::config::{AckFrequency, MtuDiscovery, QuicDatagrams};

    /// The fields that `Debug` shows, one level deep.
    fn fields(shown: &impl Debug) -> BTreeMap<String, String> {
        let text = format!("{shown:#?}");
        let mut fields = BTreeMap::new();
        let mut last = String::new();
        for line in text.lines().filter(|line| line.starts_with("    ")) {
            let is_field = !line.starts_with("     ") && line.contains(": ");
            if let Some((name, value)) = line.trim().split_once(": ").filter(|_| is_field) {
                last = name.to_owned();
                fields.insert(last.clone(), value.to_owned());
            } else if let Some(value) = fields.get_mut(&last) {
                value.push_str(line.trim());
            }
        }
        fields
    }

    /// A configuration that differs from the machine's own defaults in every field.
    fn odd() -> QuicTransport {
        QuicTransport::default().with(|t| {
            t.idle_timeout = Some(Duration::from_secs(3));
            t.keep_alive = Some(Duration::from_secs(1));
            t.max_bidi_streams = 3;
            t.max_uni_streams = 4;
            t.stream_window = 5000;
            t.conn_window = 6000;
            t.send_window = 70_000;
            t.fair = false;
            t.initial_rtt = Duration::from_millis(8);
            t.initial_mtu = 1300;
            t.mtu_discovery = Some(MtuDiscovery { max: 9000, ..MtuDiscovery::default() });
            t.ack_frequency = Some(AckFrequency { threshold: 9, ..AckFrequency::default() });
            t.datagrams = Some(QuicDatagrams {
                recv_bytes: 10_000,
                send_bytes: 11_000,
                ..QuicDatagrams::default()
            });
            t.spin_bit = false;
        })
    }

    #[test]
    fn nothing_is_left_at_the_machines_defaults() {
        let (ours, theirs) =
            (transport(&odd(), 1, &Arc::default()).unwrap(), TransportConfig::default());
        let same: Vec<_> = fields(&ours)
            .into_iter()
            .filter(|(name, value)| fields(&theirs).get(name) == Some(value))
            // Shown by builds that have it; none unless it is asked for.
            .filter(|(name, _)| name != "qlog_stream")
            .map(|(name, _)| name)
            .collect();
        // These are set too, to what RFC 9002 recommends or to what is meant.
        let meant = [
            "crypto_buffer_size",
            "enable_segmentation_offload",
            "min_mtu",
            "packet_threshold",
            "pad_to_mtu",
            "persistent_congestion_threshold",
            "time_threshold",
        ];
        assert_eq!(same, meant, "{ours:#?}");
    }

    #[test]
    fn the_default_windows_are_bounded() {
        let ours = fields(&transport(&QuicTransport::default(), 1, &Arc::default()).unwrap());
        assert_eq!(ours["receive_window"].trim_end_matches(','), (16 << 20).to_string());
        let none = QuicTransport::default().with(|t| {
            t.idle_timeout = None;
            t.datagrams = None;
        });
        let ours = fields(&transport(&none, 1, &Arc::default()).unwrap());
        assert_eq!(ours["max_idle_timeout"].trim_end_matches(','), "None");
        assert_eq!(ours["datagram_receive_buffer_size"].trim_end_matches(','), "None");
    }

    #[test]
    fn sessions_are_found_again_under_the_same_limits_alone() {
        let config = crate::proto::quic::tests::listen_config();
        let same = remembered_limits(&config);
        let changes: [fn(&mut QuicListenConfig); 6] = [
            |c| c.transport.stream_window += 1,
            |c| c.transport.conn_window += 1,
            |c| c.transport.max_bidi_streams += 1,
            |c| c.transport.max_uni_streams += 1,
            |c| c.transport.datagrams = None,
            |c| c.migration = false,
        ];
        for change in changes {
            assert_ne!(remembered_limits(&config.clone().with(change)), same);
        }
        let other = config.with(|c| c.new_tokens = 0);
        assert_eq!(remembered_limits(&other), same);
    }

    #[test]
    fn keys_are_drawn_unless_they_are_given() {
        let mut drawn = 0;
        let mut fill = |out: &mut [u8]| {
            drawn += out.len();
            out.fill(drawn as u8);
            Ok(())
        };
        let all = Secrets::draw(None, &mut fill).unwrap();
        let keys = QuicKeys::from_bytes(&[7; QuicKeys::LEN]);
        let some = Secrets::draw(Some(&keys), &mut fill).unwrap();
        assert_eq!((some.keys.reset, some.keys.cid), ([7; 64], [7; 16]));
        assert!(all.seeds[0] != all.seeds[1] && all.seeds[0] != some.seeds[0]);
        assert_eq!(drawn, 2 * 96 + QuicKeys::LEN);
        let failing = |_: &mut [u8]| Err(IoError::os("getrandom", 5));
        assert!(Secrets::draw(None, failing).is_err());
    }
}
