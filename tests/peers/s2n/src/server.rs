//! The server.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use s2n_quic::connection::{self, Handle};
use s2n_quic::provider::datagram::default::Sender;
use s2n_quic::provider::endpoint_limits::{ConnectionAttempt, Limiter, Outcome};
use s2n_quic::provider::tls::s2n_tls;
use s2n_quic::stream::{self, BidirectionalStream, PeerStream, ReceiveStream};
use s2n_quic::{Connection, Server, application};

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

pub(crate) async fn run(addr: SocketAddr, cert: &Path, key: &Path, retry: bool) {
    let tls = s2n_tls::Server::builder().with_application_protocols(["echo"]).expect("ALPN");
    let tls = tls.with_certificate(cert, key).expect("a certificate").build().expect("TLS");
    let server = Server::builder().with_io(addr).expect("a socket").with_tls(tls).expect("TLS");
    let server = server.with_datagram(super::datagrams()).expect("datagrams");
    let server = server.with_endpoint_limits(Retry(retry)).expect("limits");
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
