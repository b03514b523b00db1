//! The client.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use s2n_quic::client::Connect;
use s2n_quic::connection::{self, Handle};
use s2n_quic::provider::datagram::default::Sender;
use s2n_quic::provider::tls::s2n_tls;
use s2n_quic::stream::{self, BidirectionalStream};
use s2n_quic::{Client, Connection, application};

pub(crate) async fn run(case: &str, addr: SocketAddr, ca: &Path) {
    let tls = s2n_tls::Client::builder().with_application_protocols(["echo"]).expect("ALPN");
    let tls = tls.with_certificate(ca).expect("--ca").build().expect("TLS");
    let client = Client::builder().with_tls(tls).expect("TLS");
    let client = client.with_datagram(super::datagrams()).expect("datagrams");
    let mut client = client.with_io("0.0.0.0:0").expect("a socket").start().expect("a client");
    let connect = Connect::new(addr).with_server_name("localhost");
    let mut conn = client.connect(connect).await.expect("a handshake");
    let handle = conn.handle();
    match case {
        "handshake" => echo(&handle, b"hello").await,
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
