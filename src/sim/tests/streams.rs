//! Streams behave as TCP and Unix sockets do.

use super::*;
use crate::config::UdsListenConfig;
use crate::sim::Fault;
use std::time::Duration;

const IGNORE: Token = Token::IGNORE;

fn close(host: &mut Host, fd: Fd) {
    host.ring.push(Op::CloseFd { fd }, IGNORE);
}

fn cancel(host: &mut Host, target: Token) {
    host.ring.push(Op::Cancel { target }, Token::new(Tag::Close, 0, 0));
}

fn received(host: &mut Host, completions: &[Completion]) -> Vec<u8> {
    let with_data = completions.iter().filter(|c| c.buffer().is_some());
    with_data.flat_map(|c| host.data(c)).collect()
}

#[test]
fn bytes_arrive_in_order_and_a_fin_behind_them() {
    for make in [pair, unix_pair] {
        let (world, mut a, mut b, fd, peer) = make(Faults::none());
        let text: Vec<u8> = (0..2_000_u32).map(|i| i as u8).collect();
        a.send(fd, &text);
        b.recv(peer);
        let seen = settle(&world, &mut [&mut a, &mut b]);
        assert_eq!(results(&seen[0], Tag::Send), [2_000]);
        assert_eq!(received(&mut b, &seen[1]), text);
        let shutdown = Op::Shutdown { sock: Sock::plain(fd), how: libc::SHUT_WR };
        a.ring.push(shutdown, Token::new(Tag::Shutdown, 0, 0));
        let seen = settle(&world, &mut [&mut a, &mut b]);
        let end = seen[1].last().unwrap();
        assert_eq!((end.result, end.more(), end.buffer()), (0, false, None));
        // The other direction still works.
        b.send(peer, b"late");
        a.recv(fd);
        let seen = settle(&world, &mut [&mut a, &mut b]);
        assert_eq!(received(&mut a, &seen[0]), b"late");
        a.send(fd, b"x");
        let seen = settle(&world, &mut [&mut a, &mut b]);
        assert_eq!(results(&seen[0], Tag::Send), [-libc::EPIPE]);
        assert_eq!(world.violations(), [""; 0]);
    }
}

#[test]
fn hazard_61_a_close_with_an_armed_receive_sends_no_fin() {
    let (world, mut a, mut b, fd, peer) = pair(Faults::none());
    a.recv(fd);
    b.recv(peer);
    settle(&world, &mut [&mut a, &mut b]);
    close(&mut a, fd);
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(seen[1].len(), 0, "K10: the receive holds the file");
    cancel(&mut a, recv_token(fd));
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(results(&seen[0], Tag::Recv), [-libc::ECANCELED]);
    assert_eq!(results(&seen[1], Tag::Recv), [0]);
    assert_eq!(world.open_fds(a.ring.node()), 0);
}

#[test]
fn a_close_with_unread_data_resets() {
    for make in [pair, unix_pair] {
        let (world, mut a, mut b, fd, peer) = make(Faults::none());
        b.send(peer, b"never read");
        b.recv(peer);
        settle(&world, &mut [&mut a, &mut b]);
        close(&mut a, fd);
        let seen = settle(&world, &mut [&mut a, &mut b]);
        assert_eq!(results(&seen[1], Tag::Recv), [-libc::ECONNRESET]);
    }
}

#[test]
fn linger_zero_resets_and_what_arrived_before_stays_readable() {
    let (world, mut a, mut b, fd, peer) = pair(Faults::none());
    a.send(fd, b"last words");
    settle(&world, &mut [&mut a, &mut b]);
    a.ring.linger_zero(fd).unwrap();
    close(&mut a, fd);
    settle(&world, &mut [&mut a, &mut b]);
    b.recv(peer);
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(results(&seen[1], Tag::Recv), [10, -libc::ECONNRESET]);
    b.send(peer, b"x");
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(results(&seen[1], Tag::Send), [-libc::EPIPE]);
}

#[test]
fn data_for_a_closed_peer_is_answered_with_a_reset() {
    let (world, mut a, mut b, fd, peer) = pair(Faults::none());
    close(&mut a, fd);
    b.send(peer, b"too late");
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(results(&seen[1], Tag::Send), [8], "the kernel took it");
    b.send(peer, b"x");
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(results(&seen[1], Tag::Send), [-libc::EPIPE]);
    close(&mut b, peer);
    settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(world.files(), 0);
}

#[test]
fn a_send_waits_for_the_window() {
    for make in [pair, unix_pair] {
        let faults = Faults::none().shaped(|s| {
            s.send_buffer_len = 1_000;
            s.recv_buffer_len = 1_000;
        });
        let (world, mut a, mut b, fd, peer) = make(faults);
        let text = vec![3; 5_000];
        a.send(fd, &text);
        let seen = settle(&world, &mut [&mut a, &mut b]);
        assert_eq!(seen[0].len(), 0, "nobody reads");
        b.recv(peer);
        let mut got = Vec::new();
        for _ in 0..10 {
            let seen = settle(&world, &mut [&mut a, &mut b]);
            got.extend(received(&mut b, &seen[1]));
            if seen[1].last().is_some_and(|c| !c.more()) {
                b.recv(peer);
            }
        }
        assert_eq!(got, text);
    }
}

#[test]
fn hazard_23_enobufs_ends_the_receive_and_the_data_stays() {
    let (world, mut a, mut b, fd, peer) = pair(Faults::none());
    let text: Vec<u8> = (0..8 * 256 + 100).map(|i| (i / 256) as u8).collect();
    a.send(fd, &text);
    b.recv(peer);
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(results(&seen[1], Tag::Recv), [256, 256, 256, 256, 256, 256, 256, 256, -105]);
    assert!(!seen[1][8].more() && seen[1][8].buffer().is_none());
    assert_eq!(world.kernel_held(b.ring.node(), GROUP), 0);
    let mut got = received(&mut b, &seen[1]);
    assert_eq!(world.kernel_held(b.ring.node(), GROUP), 8);
    b.recv(peer);
    let seen = settle(&world, &mut [&mut a, &mut b]);
    got.extend(received(&mut b, &seen[1]));
    assert_eq!(got, text);
}

#[test]
fn connecting_can_fail_in_three_ways() {
    let world = World::new(1, Faults::none());
    let mut a = Host::new(&world, 0);
    let nowhere = SockAddr::from("127.0.0.1:9".parse::<SocketAddr>().unwrap());
    connect(&mut a, &nowhere);
    let seen = settle(&world, &mut [&mut a]);
    assert_eq!(results(&seen[0], Tag::Connect), [-libc::ECONNREFUSED]);

    for (kind, errnos) in [
        (Fault::ConnectBlackhole, &[libc::ETIMEDOUT][..]),
        (Fault::ConnectUnreachable, &[libc::EHOSTUNREACH, libc::ENETUNREACH]),
    ] {
        world.set_faults(Faults::none().with(kind, 1_000_000));
        connect(&mut a, &nowhere);
        let seen = settle(&world, &mut [&mut a]);
        assert!(errnos.contains(&-results(&seen[0], Tag::Connect)[0]));
    }
    assert!(world.now_ns() > 127_000_000_000);
}

#[test]
fn a_full_backlog_delays_and_a_closed_listener_resets() {
    let world = World::new(1, Faults::none());
    let mut a = Host::new(&world, 8);
    let mut b = Host::new(&world, 8);
    let (listener, addr) = listen(&mut b, 0);
    let to = SockAddr::from(addr);
    let first = connect(&mut a, &to);
    let second = connect(&mut a, &to);
    a.poll();
    world.advance_by(Duration::from_millis(500));
    assert_eq!(results(&a.poll(), Tag::Connect), [0], "the second waits");
    let (accepted, _) = b.ring.accept(listener).unwrap().unwrap();
    world.advance_by(Duration::from_secs(2));
    assert_eq!(results(&a.poll(), Tag::Connect), [0]);
    a.recv(first);
    a.recv(second);
    b.ring.close_now(listener);
    b.ring.close_now(accepted);
    let seen = settle(&world, &mut [&mut a, &mut b]);
    let mut ends = results(&seen[0], Tag::Recv);
    ends.sort_unstable();
    assert_eq!(ends, [-libc::ECONNRESET, 0]);
}

#[test]
fn unix_names_refuse_and_fill_up() {
    let world = World::new(1, Faults::none());
    let mut a = Host::new(&world, 0);
    let errno = |host: &mut Host, path: &str| host.ring.uds_connect(path.as_ref()).unwrap_err();
    assert!(errno(&mut a, "@nobody").to_string().contains("refused"));
    assert!(errno(&mut a, "/run/nobody").to_string().contains("No such file"));
    let config = UdsListenConfig::new("/run/it").with(|c| c.backlog = 1);
    let listener = a.ring.uds_listen(&config).unwrap();
    assert!(a.ring.uds_listen(&config).is_err());
    assert!(a.ring.uds_connect("/run/it".as_ref()).unwrap().is_some());
    assert!(a.ring.uds_connect("/run/it".as_ref()).unwrap().is_some());
    assert!(a.ring.uds_connect("/run/it".as_ref()).unwrap().is_none(), "the backlog is full");
    a.ring.close_now(listener);
    assert!(a.ring.uds_listen(&config).is_ok());
}

#[test]
fn hazard_37_exhaustion_leaves_the_connection_in_the_backlog() {
    let world = World::new(1, Faults::none());
    let mut a = Host::new(&world, 0);
    let mut b = Host::new(&world, 0);
    let (listener, addr) = listen(&mut b, 16);
    let to = SockAddr::from(addr);
    connect(&mut a, &to);
    settle(&world, &mut [&mut a, &mut b]);
    world.set_faults(Faults::none().with(Fault::AcceptExhausted, 1_000_000));
    assert!(b.ring.accept(listener).is_err());
    world.set_faults(Faults::none().with(Fault::AcceptNothing, 1_000_000));
    assert_eq!(b.ring.accept(listener).unwrap(), None);
    world.heal();
    assert!(b.ring.accept(listener).unwrap().is_some());
}

#[test]
fn k22_a_failed_accept_loses_the_connection_that_it_concerns() {
    for (errno, is_lost) in [(libc::ENFILE, false), (libc::ECONNABORTED, true)] {
        let world = World::new(1, Faults::none());
        let mut a = Host::new(&world, 8);
        let mut b = Host::new(&world, 0);
        let (listener, addr) = listen(&mut b, 16);
        let to = SockAddr::from(addr);
        let fd = connect(&mut a, &to);
        settle(&world, &mut [&mut a, &mut b]);
        world.set_faults(Faults::fail_nth(world.operations() + 1, errno));
        assert!(b.ring.accept(listener).is_err());
        assert_eq!(world.operation_name(world.operations()), Some("accept4"));
        assert_eq!(b.ring.accept(listener).unwrap().is_none(), is_lost);
        a.recv(fd);
        let seen = settle(&world, &mut [&mut a, &mut b]);
        let ends = if is_lost { &[-libc::ECONNRESET][..] } else { &[] };
        assert_eq!(results(&seen[0], Tag::Recv), ends);
    }
}

#[test]
fn k21_what_a_reset_says_follows_the_state() {
    // Whether each side has said FIN: established, CLOSE-WAIT, FIN-WAIT-1, LAST-ACK or CLOSING.
    for (peers_fin, own_fin, errno) in [
        (false, false, libc::ECONNRESET),
        (true, false, libc::EPIPE),
        (false, true, libc::ECONNRESET),
        (true, true, libc::ECONNRESET),
    ] {
        let (world, mut a, mut b, fd, peer) = pair(Faults::none());
        let shutdown = |host: &mut Host, fd| {
            let op = Op::Shutdown { sock: Sock::plain(fd), how: libc::SHUT_WR };
            host.ring.push(op, Token::new(Tag::Shutdown, 0, fd as u32));
        };
        if peers_fin {
            shutdown(&mut b, peer);
            settle(&world, &mut [&mut a, &mut b]);
        }
        if own_fin {
            shutdown(&mut a, fd);
            // Its FIN is still on its way when the reset leaves.
            a.poll();
        }
        b.ring.linger_zero(peer).unwrap();
        b.ring.close_now(peer);
        world.advance_by(Duration::from_secs(1));
        a.send(fd, b"anybody?");
        assert_eq!(results(&a.poll(), Tag::Send), [-errno], "{peers_fin} {own_fin}");
    }
}

#[test]
fn sigkill_of_a_peer_is_a_reset_or_a_fin() {
    let (world, mut a, b, fd, _) = pair(Faults::none());
    a.recv(fd);
    world.kill(b.ring.node());
    let seen = settle(&world, &mut [&mut a]);
    assert_eq!(results(&seen[0], Tag::Recv), [0]);
    assert_eq!(world.open_fds(b.ring.node()), 0);
}
