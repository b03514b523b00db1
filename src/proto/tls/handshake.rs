//! [`Handshake`]: rustls, fed one record at a time until it is done.
//!
//! Role: drives rustls' unbuffered connection and takes keys, key schedule and agreement out of it
//! at the end. Not role: application data, of which it never sees a byte.
//!
//! *Invariant*: rustls is given one record per call. It would otherwise decrypt what lies behind
//! the last handshake record, and the results would depend on how the stream was cut (C6).

use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, Error, ExtractedSecrets, ServerConfig};

use super::cipher::{Cipher, Secret};
use super::failure::{Alert, TlsFailure, Told};
use super::flight::Flight;
use super::hello::Hello;
use super::info::sni;
use super::limits::Limits;
use super::record::Record;
use super::session::Session;
use crate::config::{TlsInfo, TlsVersion};

/// Turns of rustls for one record: several flights of its own, and messages that share a record.
const TURNS_MAX: usize = 256;

/// A connection that is not established.
pub(crate) struct Handshake {
    side: Side,
    /// Records whose handshake message is not whole yet. rustls points into them.
    held: Vec<u8>,
}

enum Side {
    Server(UnbufferedServerConnection, Hello),
    Client(UnbufferedClientConnection, Option<Box<str>>),
}

impl Handshake {
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, TlsFailure> {
        if !config.enable_secret_extraction {
            return Err(unusable("ServerConfig::enable_secret_extraction must be set"));
        }
        if config.max_early_data_size != 0 {
            return Err(unusable("ServerConfig::max_early_data_size must be 0"));
        }
        let connection = UnbufferedServerConnection::new(config).map_err(|e| refused(&e))?;
        Ok(Self { side: Side::Server(connection, Hello::new()), held: Vec::new() })
    }

    /// The first flight goes into `flight`.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        flight: &mut Flight,
    ) -> Result<Self, TlsFailure> {
        if !config.enable_secret_extraction {
            return Err(unusable("ClientConfig::enable_secret_extraction must be set"));
        }
        if config.enable_early_data {
            return Err(unusable("ClientConfig::enable_early_data must not be set"));
        }
        let sni = sni(&name).filter(|_| config.enable_sni);
        let connection = UnbufferedClientConnection::new(config, name).map_err(|e| refused(&e))?;
        let mut this = Self { side: Side::Client(connection, sni), held: Vec::new() };
        this.turn(flight).map_err(|e| refused(&e))?;
        Ok(this)
    }

    /// Takes one record, or a header alone that cannot be one. Whether the handshake is done.
    pub(crate) fn feed(
        &mut self,
        record: &[u8],
        limits: &Limits,
        flight: &mut Flight,
    ) -> Result<bool, TlsFailure> {
        if self.held.len() + record.len() > limits.handshake_len_max {
            let why = "a handshake message is longer than Limits::handshake_len_max";
            return Err(TlsFailure::unsent(Alert::DECODE_ERROR, why).tell(flight));
        }
        if let Side::Server(_, hello) = &mut self.side {
            hello.look(record, limits.handshake_len_max);
        }
        self.held.extend_from_slice(record);
        let mark = flight.mark();
        match self.turn(flight) {
            Ok(()) => Ok(!self.common().is_handshaking()),
            Err(error) => {
                self.drain(flight);
                Err(TlsFailure::of_rustls(&error, flight.told_behind(mark)).tell(flight))
            }
        }
    }

    /// Takes everything out of rustls.
    pub(crate) fn finish(self, limits: Limits) -> Result<Record, TlsFailure> {
        const BROKEN: &str = "the handshake's result cannot be used";
        let broken = || TlsFailure::unsent(Alert::INTERNAL_ERROR, BROKEN);
        if !self.held.is_empty() {
            // RFC 8446 §5.1: "Handshake messages MUST NOT span key changes."
            let why = "a handshake message goes on behind the end of the handshake";
            return Err(TlsFailure::unsent(Alert::UNEXPECTED_MESSAGE, why));
        }
        let is_client = matches!(self.side, Side::Client(..));
        let (info, secrets, session) = match self.side {
            Side::Server(connection, hello) => {
                let info = TlsInfo::of(&connection, hello.name());
                let (secrets, rest) =
                    connection.dangerous_into_kernel_connection().map_err(|e| refused(&e))?;
                (info, secrets, Session::Server(rest))
            }
            Side::Client(connection, name) => {
                let info = TlsInfo::of(&connection, name.as_deref());
                let (secrets, rest) =
                    connection.dangerous_into_kernel_connection().map_err(|e| refused(&e))?;
                (info, secrets, Session::Client(rest))
            }
        };
        let info = Box::new(info.ok_or_else(broken)?);
        let (tx, rx) = ciphers(info.version, &secrets).ok_or_else(broken)?;
        let session = match info.version {
            TlsVersion::Tls13 => session,
            TlsVersion::Tls12 => Session::None,
        };
        Ok(Record::new(tx, rx, session, is_client, info, limits))
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Server(connection, _) => connection,
            Side::Client(connection, _) => connection,
        }
    }

    /// Lets rustls go on until it waits.
    fn turn(&mut self, flight: &mut Flight) -> Result<(), Error> {
        match &mut self.side {
            Side::Server(connection, _) => turn(connection, &mut self.held, flight),
            Side::Client(connection, _) => turn(connection, &mut self.held, flight),
        }
    }

    /// Takes out alerts that are queued, without letting rustls look at input again.
    fn drain(&mut self, flight: &mut Flight) {
        for _ in 0..TURNS_MAX {
            let encoded = match &mut self.side {
                Side::Server(connection, _) if connection.wants_write() => {
                    encode(connection.process_tls_records(&mut self.held), flight)
                }
                Side::Client(connection, _) if connection.wants_write() => {
                    encode(connection.process_tls_records(&mut self.held), flight)
                }
                _ => return,
            };
            if encoded.is_none() {
                return;
            }
        }
    }
}

/// The two kinds of connection, which have the same method without a common trait.
trait Unbuffered {
    type Data;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Unbuffered for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        input: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        self.process_tls_records(input)
    }
}

impl Unbuffered for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        input: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, ClientConnectionData> {
        self.process_tls_records(input)
    }
}

fn turn<C: Unbuffered>(
    connection: &mut C,
    held: &mut Vec<u8>,
    flight: &mut Flight,
) -> Result<(), Error> {
    for _ in 0..TURNS_MAX {
        let UnbufferedStatus { discard, state } = connection.process(held);
        let waits = match state? {
            ConnectionState::EncodeTlsData(mut data) => {
                flight.encode(&mut data).ok_or(Error::EncryptError)?;
                false
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                false
            }
            // Data cannot come before the end of the handshake: early data is off.
            ConnectionState::ReadTraffic(_) | ConnectionState::ReadEarlyData(_) => {
                return Err(Error::General("data in the middle of the handshake".into()));
            }
            _ => true,
        };
        held.drain(..discard.min(held.len()));
        if waits {
            return Ok(());
        }
    }
    Err(Error::General("the handshake does not come to rest".into()))
}

fn encode<D>(status: UnbufferedStatus<'_, '_, D>, flight: &mut Flight) -> Option<()> {
    match status.state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => flight.encode(&mut data),
        _ => None,
    }
}

fn ciphers(version: TlsVersion, secrets: &ExtractedSecrets) -> Option<(Cipher, Cipher)> {
    let (tx_seq, tx) = &secrets.tx;
    let (rx_seq, rx) = &secrets.rx;
    Some((
        Cipher::new(version, *tx_seq, Secret::new(tx)?)?,
        Cipher::new(version, *rx_seq, Secret::new(rx)?)?,
    ))
}

fn unusable(why: &'static str) -> TlsFailure {
    TlsFailure::unsent(Alert::INTERNAL_ERROR, why)
}

fn refused(error: &Error) -> TlsFailure {
    TlsFailure::of_rustls(error, Told::Nothing)
}
