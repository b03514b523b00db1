//! The server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use s2n_quic::connection::{self, Handle};
use s2n_quic::provider::datagram::default::Sender;
use s2n_quic::provider::endpoint_limits::{ConnectionAttempt, Limiter, Outcome};
use s2n_quic::provider::stateless_reset_token;
use s2n_quic::provider::tls::s2n_tls;
use s2n_quic::stream::{self, BidirectionalStream, PeerStream, ReceiveStream};
use s2n_quic::{Connection, Server, application};
use s2n_quic_core::stateless_reset::Token;

/// Who has to show where they are: those without a token are told to retry.
struct Retry(bool);

impl Limiter for Retry {
    fn on_connection_attempt(&mut self, _: &ConnectionAttempt<'_>) -> Outcome {
        match self.0 {
            true => {
                kit::say("retry");
                Outcome::retry()
            }
            false => Outcome::allow(),
        }
    }
}

/// Tokens of stateless resets, the same in every process, so that one can reset the connections of
/// another. Nobody who can guess them is there.
struct Resets;

impl stateless_reset_token::Generator for Resets {
    fn generate(&mut self, id: &[u8]) -> Token {
        let mut token = [7; 16];
        for (byte, of_id) in token.iter_mut().zip(id) {
            *byte ^= of_id;
        }
        token.into()
    }
}

impl stateless_reset_token::Provider for Resets {
    type Generator = Self;
    type Error = Infallible;

    fn start(self) -> Result<Self, Infallible> {
        Ok(self)
    }
}

pub(crate) async fn run(addr: SocketAddr, cert: &Path, key: &Path, retry: bool) {
    let tls = s2n_tls::Server::builder().with_application_protocols(["echo"]).expect("ALPN");
    let mut tls = tls.with_certificate(cert, key).expect("a certificate");
    let tickets = tls.config_mut().enable_session_tickets(true).expect("tickets");
    tickets.add_session_ticket_key(b"key", &[7; 32], SystemTime::now()).expect("a key");
    let tls = tls.build().expect("TLS");
    let server = Server::builder().with_io(addr).expect("a socket").with_tls(tls).expect("TLS");
    let server = server.with_datagram(super::datagrams()).expect("datagrams");
    let server = server.with_endpoint_limits(Retry(retry)).expect("limits");
    let server = server.with_stateless_reset_token(Resets).expect("tokens");
    let mut server = server.start().expect("a server");
    kit::say(format_args!("listening on {}", server.local_addr().expect("an address")));
    while let Some(conn) = server.accept().await {
        tokio::spawn(serve(conn));
    }
}

async fn serve(conn: Connection) {
    let (handle, mut acceptor) = conn.split();
    tokio::spawn(datagrams(handle.clone()));
    tokio::spawn(watch(handle.clone()));
    let end = loop {
        match acceptor.accept().await {
            Ok(Some(PeerStream::Bidirectional(stream))) => {
                tokio::spawn(answer(handle.clone(), stream));
            }
            Ok(Some(PeerStream::Receive(stream))) => {
                tokio::spawn(one_way(handle.clone(), stream));
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    match end {
        Some(connection::Error::Application { error, .. }) => {
            kit::say(format_args!("closed: {}", u64::from(error)));
        }
        other => kit::say(format_args!("closed: {other:?}")),
    }
}

/// Tells of a client that moves.
async fn watch(conn: Handle) {
    let mut from = conn.remote_addr().ok();
    while let Ok(now) = conn.remote_addr() {
        if from.replace(now) != Some(now) {
            kit::say(format_args!("migrated to {now}"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn datagrams(conn: Handle) {
    while let Some(data) = super::next_datagram(&conn).await {
        let sent = conn.datagram_mut(|queue: &mut Sender| queue.send_datagram(data));
        sent.expect("a connection").expect("one that fits");
    }
}

async fn one_way(mut conn: Handle, mut recv: ReceiveStream) {
    let mut send = conn.open_send_stream().await.expect("a stream");
    while let Ok(Some(data)) = recv.receive().await {
        send.send(data).await.expect("to be read");
    }
    send.finish().expect("once");
}

async fn answer(conn: Handle, mut stream: BidirectionalStream) {
    let code = |code: u32| application::Error::from(code);
    let mut first = true;
    let ended = loop {
        match stream.receive().await {
            Ok(Some(data)) => match &data[..] {
                kit::RESET if first => break stream.reset(code(kit::RESET_CODE)),
                kit::STOP if first => {
                    stream.stop_sending(code(kit::STOP_CODE)).expect("not read to its end");
                    break stream.finish();
                }
                kit::CLOSE if first => return conn.close(code(kit::CLOSE_CODE)),
                _ => {
                    first = false;
                    if let Err(error) = stream.send(data).await {
                        break Err(error);
                    }
                }
            },
            Ok(None) => break stream.finish(),
            Err(stream::Error::StreamReset { error, .. }) => break stream.reset(error),
            Err(error) => break Err(error),
        }
    };
    if let Err(error) = ended {
        kit::say(format_args!("stream: {error}"));
    }
}
