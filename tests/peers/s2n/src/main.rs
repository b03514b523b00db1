//! s2n-quic as a server and as a client: see the crate `kit`.

mod client;
mod server;

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use kit::Role;
use s2n_quic::connection::Handle;
use s2n_quic::provider::datagram::default::{Endpoint, Receiver};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match kit::role() {
        Role::Server { addr, cert, key, retry } => server::run(addr, &cert, &key, retry).await,
        Role::Client { addr, ca, cases } => {
            for case in cases {
                let ran = client::run(&case, addr, &ca);
                tokio::time::timeout(kit::PATIENCE, ran).await.expect("in time");
                kit::say(case);
            }
        }
    }
}

/// Datagrams, so many of which may wait.
fn datagrams() -> Endpoint {
    let queues = Endpoint::builder().with_send_capacity(64).expect("a queue");
    queues.with_recv_capacity(64).expect("a queue").build().expect("datagrams")
}

/// The next datagram; none when the connection has ended.
async fn next_datagram(conn: &Handle) -> Option<Bytes> {
    poll_fn(|context| {
        let polled = conn.datagram_mut(|queue: &mut Receiver| queue.poll_recv_datagram(context));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Result::ok))
    })
    .await
}
