//! What a shard sends in its last turn.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zero_io::{DrainOptions, Event, IoCluster};

use crate::common::PATIENCE;
use crate::kit::{Running, config, serve};

const ANY: &str = "127.0.0.1:0";

fn at_once() -> DrainOptions {
    DrainOptions::default().with(|drain| drain.deadline = Some(Duration::ZERO))
}

/// The turn in which it is told to stop is one of the application's, too.
#[test]
fn datagrams_of_the_last_turn_are_sent() {
    const COUNT: u32 = 50;
    let mut cluster = IoCluster::new(config(1)).unwrap();
    let endpoint = cluster.udp_bind(ANY.parse().unwrap()).unwrap();
    let mut shard = cluster.seeds().unwrap().pop().unwrap().grow().unwrap();
    let client = UdpSocket::bind(ANY).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    cluster.handle().shutdown(at_once()).unwrap();
    while shard.is_running() {
        cluster.supervise(Duration::from_millis(1)).unwrap();
        shard.poll(Duration::from_millis(1)).unwrap();
        while shard.next_event().is_some() {}
    }
    let (endpoint, to) = (shard.endpoint(endpoint).unwrap(), client.local_addr().unwrap());
    for number in 0..COUNT {
        shard.udp_send_bytes(endpoint, to, &number.to_be_bytes()).unwrap();
    }
    drop(shard);
    for number in 0..COUNT {
        let mut got = [0; 4];
        client.recv(&mut got).expect("it was sent");
        assert_eq!(u32::from_be_bytes(got), number);
    }
}

/// Whatever a cluster answered before it ended arrives.
#[test]
fn every_answer_to_a_datagram_arrives() {
    for _ in 0..5 {
        let mut cluster = IoCluster::new(config(2)).unwrap();
        let endpoint = cluster.udp_bind(ANY.parse().unwrap()).unwrap();
        let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
        let answered = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&answered);
        let running = Running::start(cluster, move |shard| {
            serve(shard, |event, sender| {
                if let Event::UdpRecv { endpoint, from, data, .. } = event {
                    sender.udp_forward(endpoint, from, data).unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        running.wait_until_up();
        let clients = (0..4).map(|_| {
            let client = UdpSocket::bind(ANY).unwrap();
            client.connect(addr).unwrap();
            client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            std::thread::spawn(move || {
                let mut got = 0;
                // At most 32 are on their way, which its receive buffer has room for.
                let mut ahead = 0_u64;
                loop {
                    while ahead < 32 && client.send(&[7; 100]).is_ok() {
                        ahead += 1;
                    }
                    match client.recv(&mut [0; 100]) {
                        Ok(_) => (got, ahead) = (got + 1, ahead - 1),
                        // Nobody is there any more.
                        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                        Err(_) => return got,
                    }
                }
            })
        });
        let clients = clients.collect::<Vec<_>>();
        std::thread::sleep(Duration::from_millis(50));
        running.handle.shutdown(at_once()).unwrap();
        running.end();
        let got = clients.into_iter().map(|client| client.join().unwrap()).sum::<u64>();
        assert_eq!(got, answered.load(Ordering::Relaxed));
        assert!(got > 0);
    }
}
