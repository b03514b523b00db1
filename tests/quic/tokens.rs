//! Tokens that save a client the round trip of a retry: RFC 9000 §8.1.3.

use std::time::Duration;

use zero_io::{QuicKeys, QuicListenConfig, RetryPolicy};

use super::early::{forgotten, play, recorder, recording};
use super::kit::{BOTH, CLIENT, Net, SERVER};
use super::resume::{SOON, over};

fn asks(listen: &mut QuicListenConfig) {
    listen.retry = RetryPolicy::Always;
}

/// Clients that were asked to retry.
fn retried(net: &mut Net, node: usize) -> u64 {
    net.nodes[node].io.io_stats().quic_retried
}

/// Connects, and stays until tokens have come.
#[track_caller]
fn visit(net: &mut Net, addr: std::net::SocketAddr) {
    let conn = net.dial(addr, |_| ());
    net.connected(conn);
    net.run_for(SOON);
    over(net, conn);
}

#[test]
fn a_client_that_was_here_is_not_asked_again() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(asks);
        let mut asked = Vec::new();
        for _ in 0..4 {
            visit(&mut net, addr);
            asked.push(retried(&mut net, SERVER));
        }
        assert_eq!(asked, [1; 4]);
        // One that shows no tokens is.
        for expected in 2..4 {
            let conn = net.dial(addr, |c| c.new_tokens = false);
            net.connected(conn);
            over(&mut net, conn);
            assert_eq!(retried(&mut net, SERVER), expected);
        }
        net.all_home();
    }
}

#[test]
fn a_listener_may_give_none() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|l| (asks(l), l.new_tokens = 0).1);
        for expected in 1..3 {
            visit(&mut net, addr);
            assert_eq!(retried(&mut net, SERVER), expected);
        }
        net.all_home();
    }
}

#[test]
fn a_token_expires() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|l| {
            asks(l);
            l.new_token_lifetime = Duration::from_secs(1);
        });
        visit(&mut net, addr);
        // To the second, each way.
        net.run_for(Duration::from_millis(3100));
        visit(&mut net, addr);
        assert_eq!(retried(&mut net, SERVER), 2);
        net.all_home();
    }
}

#[test]
fn shards_with_the_same_keys_take_each_others() {
    for backend in BOTH {
        let mut net = Net::with(backend, 3, |_| ());
        let keys = QuicKeys::from_bytes(&[7; QuicKeys::LEN]);
        let (one, two) = (keys.clone(), keys);
        let addr = net.listen(|l| (asks(l), l.keys = Some(one)).1);
        let (_, sibling) = net.listen_at(2, "127.0.0.1:0", |l| (asks(l), l.keys = Some(two)).1);
        let (_, stranger) = net.listen_at(2, "127.0.0.1:0", asks);
        visit(&mut net, addr);
        for (to, expected) in [(sibling, 0), (stranger, 1)] {
            let conn = net.dial(to, |_| ());
            net.until("it to be connected", |net| net.nodes[CLIENT].open.contains(&conn));
            assert_eq!(retried(&mut net, 2), expected);
        }
        net.all_home();
    }
}

#[test]
fn a_token_is_good_once() {
    for backend in BOTH {
        let mut net = Net::with(backend, 3, |_| ());
        let keys = QuicKeys::random().unwrap();
        let listen = |l: &mut QuicListenConfig, keys: &QuicKeys| {
            asks(l);
            l.handshake_timeout = Duration::from_millis(200);
            l.transport.initial_rtt = Duration::from_millis(10);
            l.keys = Some(keys.clone());
        };
        let addr = net.listen(|l| listen(l, &keys));
        let sibling = net.listen(|l| listen(l, &keys));
        visit(&mut net, addr);
        let (recorder, nowhere) = recorder(&mut net);
        let conn = net.dial(nowhere, |_| ());
        let recording = recording(&mut net);
        net.nodes[CLIENT].io.close(conn).unwrap();
        let before = retried(&mut net, SERVER);
        let mut asked = Vec::new();
        for to in [addr, addr, sibling] {
            play(&mut net, recorder, to, &recording[..1]);
            forgotten(&mut net);
            asked.push(retried(&mut net, SERVER) - before);
        }
        assert_eq!(asked, [0, 1, 2]);
        net.nodes[2].io.endpoint_close(recorder).unwrap();
        net.all_home();
    }
}
