//! The client.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::s2n_tls::callbacks::{ConnectionFuture, SessionTicket, SessionTicketCallback};
use ::s2n_tls::config::ConnectionInitializer;
use ::s2n_tls::connection::Connection as TlsConnection;
use ::s2n_tls::error::Error as TlsError;
use s2n_quic::client::Connect;
use s2n_quic::connection::{self, Handle};
use s2n_quic::provider::datagram::default::Sender;
use s2n_quic::provider::tls::s2n_tls;
use s2n_quic::stream::{self, BidirectionalStream};
use s2n_quic::{Client, Connection, application};

pub(crate) async fn run(case: &str, addr: SocketAddr, ca: &Path) {
    let tickets = Tickets::default();
    let (mut client, mut conn) = connected(addr, ca, &tickets).await;
    if case == "resumption" {
        // The ticket comes with the answer, if not before.
        echo(&conn.handle(), b"hello").await;
        conn.close(0_u32.into());
        client.wait_idle().await.expect("to be told");
        (client, conn) = connected(addr, ca, &tickets).await;
    }
    let handle = conn.handle();
    match case {
        "handshake" | "resumption" => echo(&handle, b"hello").await,
        "transfer" => {
            for size in kit::SIZES {
                echo(&handle, &kit::pattern(size)).await;
            }
        }
        "multiplexing" => {
            let mut tasks = tokio::task::JoinSet::new();
            for i in 0..kit::STREAMS {
                let handle = handle.clone();
                tasks.spawn(async move { echo(&handle, &[i as u8; 300]).await });
            }
            tasks.join_all().await;
        }
        "unidirectional" => unidirectional(&mut conn).await,
        "datagram" => {
            let sent = handle.datagram_mut(|q: &mut Sender| q.send_datagram("a datagram".into()));
            sent.expect("a connection").expect("one that fits");
            let came = super::next_datagram(&handle).await.expect("an answer");
            kit::assert_same(&came, b"a datagram");
        }
        "reset" => reset(&handle).await,
        // Nobody waits for idleness then: s2n-quic looks at a connection that was reset again when
        // something else wakes it, if need be when the idle timeout would have passed.
        "statelessreset" => return stateless_reset(handle).await,
        "close" => {
            echo(&handle, b"hello").await;
            handle.close(kit::LEAVE_CODE.into());
        }
        _ => panic!("no case {case}"),
    }
    conn.close(0_u32.into());
    client.wait_idle().await.expect("to be told");
}

/// A connection that resumes with the last ticket, and the client that it is of.
async fn connected(addr: SocketAddr, ca: &Path, tickets: &Tickets) -> (Client, Connection) {
    let tls = s2n_tls::Client::builder().with_application_protocols(["echo"]).expect("ALPN");
    let mut tls = tls.with_certificate(ca).expect("--ca");
    let config = tls.config_mut();
    config.set_session_ticket_callback(tickets.clone()).expect("tickets");
    config.set_connection_initializer(tickets.clone()).expect("tickets");
    let client = Client::builder().with_tls(tls.build().expect("TLS")).expect("TLS");
    let client = client.with_datagram(super::datagrams()).expect("datagrams");
    let client = client.with_io("0.0.0.0:0").expect("a socket").start().expect("a client");
    let connect = Connect::new(addr).with_server_name("localhost");
    let conn = client.connect(connect).await.expect("a handshake");
    (client, conn)
}

/// What is done before a handshake goes on; nothing here.
type Later = Option<Pin<Box<dyn ConnectionFuture>>>;

/// The last ticket that came, which the next connection shows.
#[derive(Clone, Default)]
struct Tickets(Arc<Mutex<Option<Vec<u8>>>>);

impl SessionTicketCallback for Tickets {
    fn on_session_ticket(&self, _: &mut TlsConnection, ticket: &SessionTicket) {
        let mut data = vec![0; ticket.len().expect("a length")];
        ticket.data(&mut data).expect("as long as it says");
        *self.0.lock().expect("nobody panics with it") = Some(data);
    }
}

impl ConnectionInitializer for Tickets {
    fn initialize_connection(&self, conn: &mut TlsConnection) -> Result<Later, TlsError> {
        if let Some(ticket) = &*self.0.lock().expect("nobody panics with it") {
            conn.set_session_ticket(ticket)?;
        }
        Ok(None)
    }
}

async fn open(handle: &Handle) -> BidirectionalStream {
    handle.clone().open_bidirectional_stream().await.expect("a stream")
}

async fn echo(handle: &Handle, data: &[u8]) {
    let (mut recv, mut send) = open(handle).await.split();
    let sending = async {
        send.send(data.to_vec().into()).await.expect("to be read");
        send.finish().expect("once");
    };
    let reading = async {
        let mut came = Vec::new();
        while let Some(part) = recv.receive().await.expect("an echo") {
            came.extend_from_slice(&part);
        }
        came
    };
    let (_, came) = tokio::join!(sending, reading);
    kit::assert_same(&came, data);
}

async fn unidirectional(conn: &mut Connection) {
    let mut send = conn.open_send_stream().await.expect("a stream");
    send.send("one way".into()).await.expect("to be read");
    send.finish().expect("once");
    let mut recv = conn.accept_receive_stream().await.expect("a connection").expect("a stream");
    let mut came = Vec::new();
    while let Some(part) = recv.receive().await.expect("an answer") {
        came.extend_from_slice(&part);
    }
    kit::assert_same(&came, b"one way");
}

/// What is given up comes back given up, with the code; what is not wanted is not sent.
async fn reset(handle: &Handle) {
    let (mut recv, mut send) = open(handle).await.split();
    send.send("a part".into()).await.expect("to be read");
    kit::assert_same(&recv.receive().await.expect("its echo").expect("a part"), b"a part");
    send.reset(kit::RESET_CODE.into()).expect("once");
    let end = recv.receive().await.expect_err("no end");
    let code = application::Error::from(kit::RESET_CODE);
    assert!(matches!(end, stream::Error::StreamReset { error, .. } if error == code), "{end}");

    let (mut recv, mut send) = open(handle).await.split();
    send.send("a part".into()).await.expect("to be read");
    kit::assert_same(&recv.receive().await.expect("its echo").expect("a part"), b"a part");
    recv.stop_sending(kit::STOP_CODE.into()).expect("once");
    let code = application::Error::from(kit::STOP_CODE);
    let stopped = loop {
        if let Err(error) = send.send("more".into()).await {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert!(matches!(stopped, stream::Error::StreamReset { error, .. } if error == code));
}

/// Sends until the server says that it knows nothing of the connection.
async fn stateless_reset(mut handle: Handle) {
    echo(&handle, b"hello").await;
    kit::say("connected");
    let end = loop {
        if let Err(error) = handle.ping() {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(matches!(end, connection::Error::StatelessReset { .. }), "{end}");
}
