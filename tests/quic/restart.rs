//! A server that is gone and comes back: RFC 9000 §10.3.

use std::time::Duration;

use zero_io::{QuicKeys, StreamDir, code};

use super::kit::{BOTH, CLIENT, Net, SERVER};

/// How a client's connection ends whose server was started again with those keys.
fn end_after_restart(net: &mut Net, before: QuicKeys, after: QuicKeys) -> u64 {
    let addr = net.listen(|l| l.keys = Some(before));
    let conn = net.dial(addr, |c| c.transport.idle_timeout = Some(Duration::from_secs(2)));
    let (conn, _) = net.connected(conn);
    net.run_for(Duration::from_millis(50));
    net.restart(SERVER);
    let (_, again) = net.listen_at(SERVER, &addr.to_string(), |l| l.keys = Some(after));
    assert_eq!(again, addr);
    let begin = net.now();
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
    // A reset is shorter than what it answers, and looks like a packet.
    net.nodes[CLIENT].io.stream_write(conn, stream, &[1; 200]).unwrap();
    let (ended, _, clean) = net.end_of(CLIENT, conn);
    assert!(!clean);
    let took = net.now() - begin;
    assert_eq!(took < Duration::from_secs(1), ended == code::QUIC_STATELESS_RESET, "{took:?}");
    net.all_home();
    ended
}

#[test]
fn with_its_keys_it_resets_the_connections_of_before() {
    for backend in BOTH {
        let keys = QuicKeys::random().unwrap();
        let ended = end_after_restart(&mut Net::new(backend), keys.clone(), keys);
        assert_eq!(ended, code::QUIC_STATELESS_RESET);
    }
}

#[test]
fn with_keys_that_were_written_down_too() {
    for backend in BOTH {
        let bytes = [9; QuicKeys::LEN];
        let keys = [QuicKeys::from_bytes(&bytes), QuicKeys::from_bytes(&bytes)];
        let [before, after] = keys;
        let ended = end_after_restart(&mut Net::new(backend), before, after);
        assert_eq!(ended, code::QUIC_STATELESS_RESET);
    }
}

#[test]
fn with_other_keys_they_time_out() {
    for backend in BOTH {
        let (before, after) = (QuicKeys::random().unwrap(), QuicKeys::random().unwrap());
        let ended = end_after_restart(&mut Net::new(backend), before, after);
        assert_eq!(ended, code::IDLE_TIMEOUT);
    }
}
