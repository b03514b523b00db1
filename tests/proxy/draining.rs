//! A cluster behind haproxy that ends: it is left alone before it takes nothing more.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{
    ClusterConfig, ClusterReadiness, CpuAffinity, DrainOptions, Event, HttpListenConfig, IoCluster,
    TcpListenConfig, TlsListenConfig, ZeroResponse,
};

use crate::balancer::Haproxy;
use crate::certs::World;
use crate::common::{dial, localhost};
use crate::haproxy::seal;
use crate::kit::{V1, loopback};

/// Long enough for three checks, with plenty to spare.
const GRACE: Duration = Duration::from_secs(4);

/// Asks by that socket; all of the answer.
fn ask(addr: SocketAddr, header: &[u8]) -> String {
    let mut client = dial(addr);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.write_all(&[header, request].concat()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_shutdown_is_seen_by_haproxy_in_the_grace() {
    let world = World::new();
    let mut cluster =
        IoCluster::new(ClusterConfig::new(2).with(|c| c.cpu_affinity = CpuAffinity::Off)).unwrap();
    let tcp = TcpListenConfig::new(localhost()).with(|c| c.proxy = Some(loopback()));
    let http = cluster.http_listen_with(HttpListenConfig::new(tcp.clone())).unwrap();
    let tls = world.server.server().build().unwrap();
    let tls = cluster.tls_listen_with(TlsListenConfig::tcp(tcp, tls)).unwrap();
    let [http, tls] = [http, tls].map(|e| cluster.local_addr(e).unwrap().inet().unwrap());
    let handle = cluster.handle();
    let probed = handle.clone();
    let running = std::thread::spawn(move || {
        cluster.run(|shard| {
            while shard.is_running() {
                shard.poll(Duration::from_secs(60))?;
                let (mut events, mut sender) = shard.split();
                while let Some(event) = events.next_event() {
                    match event {
                        Event::HttpRequest { conn, id, request } => {
                            let is_ready = probed.readiness() == ClusterReadiness::Ready;
                            let answer = match request.path() {
                                "/ready" if is_ready => ZeroResponse::ok(),
                                "/ready" => ZeroResponse::status(503),
                                _ => ZeroResponse::ok().text("Hello"),
                            };
                            let _ = sender.http_respond(conn, id, answer);
                        }
                        Event::StreamFrame { conn, stream, data, .. } => {
                            sender.stream_write(conn, stream, data)?;
                        }
                        Event::ReadClosed { conn, .. } => {
                            let _ = sender.close_graceful(conn, Duration::ZERO);
                        }
                        _ => {}
                    }
                }
            }
            Ok(())
        })
    });
    let mut haproxy = Haproxy::start(2, http, tls);
    assert!(ask(haproxy.web, b"").ends_with("Hello"));
    let mut sealed = seal(&world, dial(haproxy.tls));
    sealed.write_all(b"one").unwrap();
    sealed.read_exact(&mut [0; 3]).unwrap();

    let drain = DrainOptions::default().with(|d| d.grace = Some(GRACE));
    handle.shutdown(drain).unwrap();
    haproxy.wait_until("DOWN,L7STS");
    // Nobody is sent there any more, and yet who comes is served: no client pays for the delay.
    assert_eq!(handle.readiness(), ClusterReadiness::Draining);
    assert!(ask(haproxy.web, b"").starts_with("HTTP/1.1 503 "), "haproxy's own");
    assert!(ask(http, V1).ends_with("Hello"));
    // And who was there before goes on.
    sealed.write_all(b"two").unwrap();
    sealed.read_exact(&mut [0; 3]).unwrap();
    drop(sealed);
    assert!(running.join().unwrap().unwrap().is_clean());
    assert_eq!(handle.readiness(), ClusterReadiness::Stopped);
}
