//! Versions: RFC 9000 §6, by hand.

use std::net::UdpSocket;
use std::time::Duration;

use zero_io::{ConnId, code};

use super::kit::{Backend, CLIENT, Net, SERVER};

/// A long header of a version that nobody has, with ids of so many bytes, as long as an Initial.
fn unknown_version(dcid: &[u8], scid: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a];
    for id in [dcid, scid] {
        packet.push(id.len() as u8);
        packet.extend_from_slice(id);
    }
    packet.resize(1200, 0);
    packet
}

#[test]
fn who_offers_another_version_is_told_ours() {
    let mut net = Net::with(Backend::Uring, 1, |_| ());
    let addr = net.listen(|_| ());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    // Usual ids, the longest of ours, and the longest that another version may have (RFC 8999).
    for (dcid, scid) in [(&[1; 8][..], &[2; 8][..]), (&[3; 20], &[]), (&[4; 255], &[5; 255])] {
        client.send_to(&unknown_version(dcid, scid), addr).unwrap();
        let mut answer = [0; 2000];
        let mut len = 0;
        net.until("an answer", |_| {
            len = client.recv(&mut answer).unwrap_or(0);
            len > 0
        });
        let answer = &answer[..len];
        // RFC 9000 §17.2.1: the ids change places, and version 0 says what it is.
        assert!(answer[0] & 0x80 != 0 && answer[1..5] == [0; 4], "{answer:?}");
        let ids = [&[scid.len() as u8], scid, &[dcid.len() as u8], dcid].concat();
        assert_eq!(answer[5..5 + ids.len()], ids);
        let versions: Vec<_> = answer[5 + ids.len()..].chunks(4).collect();
        assert!(versions.contains(&&[0, 0, 0, 1][..]), "{versions:?}");
    }
    // RFC 9000 §6.1: what is too short to be an Initial, and a version packet, get none.
    client.send_to(&unknown_version(&[1; 8], &[2; 8])[..1199], addr).unwrap();
    let mut told = unknown_version(&[1; 8], &[2; 8]);
    told[1..5].fill(0);
    client.send_to(&told, addr).unwrap();
    net.run_for(Duration::from_millis(50));
    assert!(client.recv(&mut [0; 2000]).is_err(), "no answer");
    assert!(net.nodes[SERVER].seen.is_empty());
}

/// A server answers with that list of versions.
fn told(versions: &[u8]) -> (Net, ConnId) {
    let mut net = Net::new(Backend::Uring);
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let conn = net.dial(server.local_addr().unwrap(), |c| {
        c.connect_timeout = Duration::from_secs(1);
    });
    let mut initial = [0; 2000];
    let mut came = None;
    net.until("an Initial", |_| {
        came = server.recv_from(&mut initial).ok();
        came.is_some()
    });
    let (len, from) = came.unwrap();
    assert!(len >= 1200 && initial[1..5] == [0, 0, 0, 1], "version 1, and long enough");
    let dcid_len = usize::from(initial[5]);
    let dcid = &initial[6..6 + dcid_len];
    let scid_len = usize::from(initial[6 + dcid_len]);
    let scid = &initial[7 + dcid_len..7 + dcid_len + scid_len];
    let ids = [&[scid_len as u8], scid, &[dcid_len as u8], dcid].concat();
    // RFC 9000 §17.2.1: the other bits of the first byte mean nothing.
    let packet = [&[0x80, 0, 0, 0, 0], &ids[..], versions].concat();
    server.send_to(&packet, from).unwrap();
    (net, conn)
}

#[test]
fn a_server_without_our_version() {
    let (mut net, conn) = told(&[0x1a, 0x2a, 0x3a, 0x4a, 0xff, 0, 0, 0x1d]);
    let (ended, _, clean) = net.end_of(CLIENT, conn);
    assert_eq!((ended, clean), (code::QUIC_VERSION, false));
}

#[test]
fn a_list_with_the_version_that_was_offered_means_nothing() {
    // RFC 9000 §6.2
    let (mut net, conn) = told(&[0x1a, 0x2a, 0x3a, 0x4a, 0, 0, 0, 1]);
    let (ended, _, clean) = net.end_of(CLIENT, conn);
    assert_eq!((ended, clean), (code::CONNECT_TIMEOUT, false));
}
