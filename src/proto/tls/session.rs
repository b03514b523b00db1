//! [`Session`]: what rustls still does after the handshake: the next keys, and tickets.

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, Error};

use super::cipher::Secret;
use super::failure::{Alert, Fault};

/// The key schedule behind a connection.
pub(crate) enum Session {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
    /// TLS 1.2: nothing is left to do.
    None,
}

impl Session {
    /// The key for what we send after our KeyUpdate.
    pub(crate) fn next_tx(&mut self) -> Result<Secret, Fault> {
        next(match self {
            Self::Server(connection) => connection.update_tx_secret(),
            Self::Client(connection) => connection.update_tx_secret(),
            Self::None => return Err(NO_KEY),
        })
    }

    /// The key for what the peer sends after its KeyUpdate.
    pub(crate) fn next_rx(&mut self) -> Result<Secret, Fault> {
        next(match self {
            Self::Server(connection) => connection.update_rx_secret(),
            Self::Client(connection) => connection.update_rx_secret(),
            Self::None => return Err(NO_KEY),
        })
    }

    /// Remembers a ticket. Only servers send them.
    pub(crate) fn ticket(&mut self, body: &[u8]) -> Result<(), Fault> {
        const BAD: Fault = Fault::Refused(Alert::DECODE_ERROR, "a malformed session ticket");
        match self {
            Self::Client(client) => {
                client.handle_new_session_ticket(body).map_err(|error| match error {
                    Error::PeerMisbehaved(_) => {
                        Fault::Refused(Alert::ILLEGAL_PARAMETER, "an illegal session ticket")
                    }
                    _ => BAD,
                })
            }
            Self::Server(_) | Self::None => {
                Err(Fault::Refused(Alert::UNEXPECTED_MESSAGE, "a ticket from a client"))
            }
        }
    }
}

const NO_KEY: Fault = Fault::Refused(Alert::INTERNAL_ERROR, "no next key could be derived");

fn next(answer: Result<(u64, ConnectionTrafficSecrets), Error>) -> Result<Secret, Fault> {
    let (_zero, secrets) = answer.map_err(|_| NO_KEY)?;
    Secret::new(&secrets).ok_or(NO_KEY)
}
