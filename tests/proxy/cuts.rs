//! Headers that come in pieces, and many at once.

use std::io::Write;
use std::time::Duration;

use crate::common::{Seen, Shard, dial};
use crate::kit::{CLIENT, V1, inet, listen, loopback, v2, wait_peer};

const TICK: Duration = Duration::from_millis(2);

#[test]
fn a_header_may_be_cut_at_every_byte() {
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, loopback());
    let long = v2(&[(0x02, b"a.example"), (0x05, &[7; 20])]);
    for header in [V1, &v2(&[]), &long] {
        for cut in 1..=header.len() {
            let mut proxy = dial(addr);
            proxy.write_all(&header[..cut]).unwrap();
            for _ in 0..3 {
                shard.step(TICK);
            }
            let is_whole = cut == header.len();
            assert_eq!(shard.count(|s| matches!(s, Seen::Connected { .. })) == 1, is_whole);
            proxy.write_all(&[&header[cut..], b"hello"].concat()).unwrap();
            let (conn, peer) = wait_peer(&mut shard, endpoint);
            assert_eq!(peer, inet(CLIENT), "cut at {cut}");
            assert_eq!(shard.wait_bytes(conn, 5), b"hello", "cut at {cut}");
            shard.io.close(conn).unwrap();
            shard.wait_end(conn);
            shard.seen.clear();
        }
    }
    shard.finish();
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, loopback());
    for header in [V1.to_vec(), v2(&[(0x05, b"id")])] {
        let mut proxy = dial(addr);
        for byte in header.iter().chain(b"hello") {
            proxy.write_all(&[*byte]).unwrap();
            shard.step(TICK);
        }
        let (conn, peer) = wait_peer(&mut shard, endpoint);
        assert_eq!(peer, inet(CLIENT));
        assert_eq!(shard.wait_bytes(conn, 5), b"hello");
    }
    shard.finish();
}

#[test]
fn many_come_at_once_to_a_shard_with_few_events() {
    let mut shard = Shard::with(|c| {
        c.max_events_per_poll = 16;
        c.max_connections = 128;
    });
    let (endpoint, addr) = listen(&mut shard, loopback());
    let proxies: Vec<_> = (0..100)
        .map(|number| {
            let mut proxy = dial(addr);
            let line = format!("PROXY TCP4 192.0.2.{number} 198.51.100.2 {number} 443\r\n");
            proxy.write_all(&[line.as_bytes(), &[number]].concat()).unwrap();
            proxy
        })
        .collect();
    for _ in 0..100 {
        let (conn, peer) = wait_peer(&mut shard, endpoint);
        let number = shard.wait_bytes(conn, 1)[0];
        assert_eq!(peer, inet(&format!("192.0.2.{number}:{number}")));
    }
    assert_eq!(shard.io.io_stats().proxied, 100);
    drop(proxies);
    shard.finish();
}
