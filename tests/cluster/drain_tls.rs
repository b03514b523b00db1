//! TLS sessions of a cluster that is shut down: who was accepted is served, and told goodbye.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, DEFAULT_VERSIONS, StreamOwned};
use zero_io::{ClusterReadiness, DrainOptions, Event, IoCluster};

use crate::certs::World;
use crate::common::PATIENCE;
use crate::kit::{Running, config, serve};

type Session = StreamOwned<ClientConnection, TcpStream>;

/// Echoes what comes; when the shard is about to end, each session ends with its next answer, and
/// those that have had one end at once.
fn running(world: &World) -> (Running, SocketAddr) {
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let tls = world.server.server().build().unwrap();
    let endpoint = cluster.tls_listen("127.0.0.1:0".parse().unwrap(), tls).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let running = Running::start(cluster, |shard| {
        let (mut served, mut is_draining) = (Vec::new(), false);
        serve(shard, |event, sender| match event {
            Event::StreamFrame { conn, stream, data, .. } => {
                assert_eq!(sender.stream_write(conn, stream, data), Ok(data.len()));
                if is_draining || data == b"once" {
                    sender.close_graceful(conn, PATIENCE).unwrap();
                } else {
                    served.push(conn);
                }
            }
            Event::ReadClosed { conn, .. } => {
                let _ = sender.close_graceful(conn, PATIENCE);
            }
            Event::Draining { .. } => {
                is_draining = true;
                for conn in served.drain(..) {
                    let _ = sender.close_graceful(conn, PATIENCE);
                }
            }
            _ => {}
        })
    });
    running.wait_for(None, ClusterReadiness::Ready);
    (running, addr)
}

fn client_config(world: &World) -> Arc<ClientConfig> {
    Arc::new(world.ca.rustls_client(DEFAULT_VERSIONS))
}

fn session(config: &Arc<ClientConfig>, socket: TcpStream) -> Session {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket)
}

fn ask(session: &mut Session, what: &[u8]) {
    session.write_all(what).unwrap();
    let mut answer = vec![0; what.len()];
    session.read_exact(&mut answer).unwrap();
    assert_eq!(answer, what);
}

/// An end without close_notify is an error of rustls.
fn hears_goodbye(session: &mut Session) {
    assert_eq!(session.read(&mut [0; 16]).expect("close_notify"), 0);
}

fn patient() -> DrainOptions {
    DrainOptions::default().with(|drain| drain.deadline = Some(PATIENCE))
}

/// However the shutdown falls: whoever got a connection gets a session, an answer and a goodbye.
#[test]
fn nobody_who_was_accepted_is_lost() {
    let world = World::new();
    let (running, addr) = running(&world);
    let config = client_config(&world);
    let visitors = (0..6).map(|_| {
        let config = Arc::clone(&config);
        std::thread::spawn(move || {
            let mut served = 0_u64;
            loop {
                let socket = match TcpStream::connect_timeout(&addr, PATIENCE) {
                    Ok(socket) => socket,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "after {served}");
                        return served;
                    }
                };
                let mut session = session(&config, socket);
                ask(&mut session, b"once");
                hears_goodbye(&mut session);
                served += 1;
            }
        })
    });
    let visitors = visitors.collect::<Vec<_>>();
    std::thread::sleep(Duration::from_millis(150));
    running.handle.shutdown(patient()).unwrap();
    assert!(running.end().is_clean());
    let served = visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum::<u64>();
    assert!(served > 0);
}

/// Sessions that are idle hear goodbye at once; a handshake under way is finished, and what is
/// asked then is answered.
#[test]
fn sessions_end_with_a_goodbye() {
    let world = World::new();
    let (running, addr) = running(&world);
    let config = client_config(&world);
    let mut idle = (0..8)
        .map(|_| {
            let mut session = session(&config, TcpStream::connect(addr).unwrap());
            ask(&mut session, b"hello");
            session
        })
        .collect::<Vec<_>>();
    // They have connected, and one of them has sent half of its first message.
    let mut late = [(); 2].map(|()| session(&config, TcpStream::connect(addr).unwrap()));
    let mut hello = Vec::new();
    late[1].conn.write_tls(&mut hello).unwrap();
    let (first, rest) = hello.split_at(hello.len() / 2);
    late[1].sock.write_all(first).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    running.handle.shutdown(patient()).unwrap();
    idle.iter_mut().for_each(hears_goodbye);
    assert!(start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
    late[1].sock.write_all(rest).unwrap();
    for session in &mut late {
        ask(session, b"late");
        hears_goodbye(session);
    }
    drop((idle, late));
    assert!(running.end().is_clean());
}
