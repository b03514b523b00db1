//! The contract K1..: what the kernel may do, and what it notices.

use super::*;
use crate::sim::Fault;

fn always(kind: Fault) -> Faults {
    Faults::none().with(kind, 1_000_000)
}

fn violated(world: &World, which: &str) {
    let found = world.violations();
    assert!(found.iter().any(|text| text.contains(which)), "{which}: {found:?}");
}

#[test]
fn k1_submissions_run_in_order_and_completions_need_not() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let world = World::new(seed, always(Fault::CompletionReorder));
        let mut a = Host::new(&world, 0);
        for index in 0..3 {
            let target = Token::new(Tag::Recv, 0, 99);
            a.ring.push(Op::Cancel { target }, Token::new(Tag::Close, 0, index));
        }
        let seen = a.poll();
        assert!(seen.iter().all(|c| c.result == -libc::ENOENT));
        orders.insert(seen.iter().map(|c| c.token.index()).collect::<Vec<_>>());
    }
    assert_eq!(orders.len(), 6);
}

#[test]
fn k2_tokens_under_way_are_unique() {
    let (world, mut a, _b, fd, _) = pair(Faults::none());
    a.recv(fd);
    let sock = Sock::plain(fd);
    a.ring.push(Op::Poll { sock, mask: 1, multi: false }, recv_token(fd));
    a.poll();
    violated(&world, "K2");
}

#[test]
fn k3_valid_data_may_end_a_receive() {
    let (world, mut a, mut b, fd, peer) = pair(always(Fault::RecvEnds));
    a.send(fd, &[1; 600]);
    b.recv(peer);
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(results(&seen[1], Tag::Recv), [256]);
    assert!(!seen[1][0].more() && seen[1][0].flags & Completion::NONEMPTY != 0);
}

#[test]
fn k4_a_buffer_is_provided_once_and_to_a_known_group() {
    let world = World::new(1, Faults::none());
    let mut a = Host::new(&world, 2);
    a.give_back(1);
    violated(&world, "K4: buffer 1");
    a.ring.group_publish(GROUP + 1);
    violated(&world, "K4: group 8");
}

#[test]
fn k4_a_buffer_that_went_back_is_overwritten() {
    let (world, mut a, mut b, fd, peer) = pair(Faults::none());
    a.send(fd, &[1; 10]);
    b.recv(peer);
    let seen = settle(&world, &mut [&mut a, &mut b]);
    let bid = usize::from(seen[1][0].buffer().unwrap());
    assert_eq!(b.buffers[bid][..10], [1; 10]);
    b.give_back(bid as u16);
    assert_eq!(b.buffers[bid][..10], [0xdb; 10]);
}

#[test]
fn k5_hazard_1_memory_that_changes_too_early_is_noticed() {
    let (world, mut a, mut b, fd, _) = pair(always(Fault::CompletionDelay));
    let mut text = vec![1; 100];
    a.send(fd, &text);
    a.ring.enter(Wait::None).unwrap();
    // As an engine would that recycles the memory of a connection at its close.
    text[50] = 9;
    settle(&world, &mut [&mut a, &mut b]);
    violated(&world, "K5");
}

#[test]
fn k6_hazard_43_two_sends_interleave_and_are_noticed() {
    let faults = Faults::none().shaped(|s| s.send_buffer_len = 100);
    let (world, mut a, mut b, fd, peer) = pair(faults);
    let (one, two) = (vec![1; 300], vec![2; 300]);
    a.send(fd, &one);
    let (ptr, len) = (two.as_ptr(), 300);
    a.ring.push(Op::Send { sock: Sock::plain(fd), ptr, len }, Token::new(Tag::Send, 1, 0));
    b.recv(peer);
    let seen = settle(&world, &mut [&mut a, &mut b]);
    let got: Vec<u8> = seen[1].iter().flat_map(|c| b.data(c)).collect();
    assert_eq!(got.len(), 600);
    assert!(!got.is_sorted(), "the pieces of two sends mix");
    violated(&world, "K6");
}

#[test]
fn k7_two_receives_are_noticed() {
    let (world, mut a, _b, fd, _) = pair(Faults::none());
    a.recv(fd);
    let sock = Sock::plain(fd);
    a.ring.push(Op::RecvMulti { sock, group: GROUP }, Token::new(Tag::Recv, 1, 0));
    a.poll();
    violated(&world, "K7");
}

#[test]
fn k8_hazard_56_a_notification_comes_iff_it_was_announced() {
    for (make, copied) in [(pair as fn(Faults) -> _, false), (pair, true), (unix_pair, false)] {
        let faults = always(Fault::ZcLate).with(Fault::ZcCopied, u32::from(copied) * 1_000_000);
        let (world, mut a, mut b, fd, _) = make(faults);
        let text = [1; 100];
        let op = Op::SendZc { sock: Sock::plain(fd), ptr: text.as_ptr(), len: 100 };
        let token = Token::new(Tag::SendZc, 0, 0);
        a.ring.push(op, token);
        let first = a.poll();
        if first[0].result < 0 {
            assert_eq!((first[0].result, first[0].more()), (-libc::EOPNOTSUPP, false));
            continue;
        }
        assert_eq!((first[0].result, first[0].more(), first[0].is_notif()), (100, true, false));
        // K8: the notification outlives the connection.
        a.ring.push(Op::CloseFd { fd }, Token::IGNORE);
        let seen = settle(&world, &mut [&mut a, &mut b]);
        let last = seen[0].last().unwrap();
        assert!(last.token == token && last.is_notif() && !last.more());
        assert_eq!(last.result.cast_unsigned(), if copied { Completion::ZC_COPIED } else { 0 });
        assert_eq!(world.violations(), [""; 0]);
    }
}

#[test]
fn k8_a_failed_zero_copy_send_may_complete_twice() {
    let (world, mut a, mut b, fd, _) = unix_pair(always(Fault::ZcErrorTwice));
    let text = [1; 100];
    let op = Op::SendZc { sock: Sock::plain(fd), ptr: text.as_ptr(), len: 100 };
    a.ring.push(op, Token::new(Tag::SendZc, 0, 0));
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert!(seen[0][0].result == -libc::EOPNOTSUPP && seen[0][0].more());
    assert!(seen[0][1].is_notif());
}

#[test]
fn k9_sends_are_short_or_try_again() {
    let (world, mut a, mut b, fd, _) = pair(always(Fault::SendShort));
    let text = [1; 1_000];
    let mut shorter = false;
    for _ in 0..20 {
        a.send(fd, &text);
        let seen = settle(&world, &mut [&mut a, &mut b]);
        shorter |= results(&seen[0], Tag::Send)[0] < 1_000;
    }
    assert!(shorter);
    world.set_faults(always(Fault::SendAgain));
    a.send(fd, &text);
    assert_eq!(results(&a.poll(), Tag::Send), [-libc::EAGAIN]);
}

#[test]
fn k11_hazard_17_descriptors_are_reused_lowest_first() {
    let (world, mut a, _b, fd, _) = pair(Faults::none());
    a.ring.close_now(fd);
    a.recv(fd);
    assert_eq!(results(&a.poll(), Tag::Recv), [-libc::EBADF]);
    violated(&world, "K11");
    let (again, _) = listen(&mut a, 1);
    assert_eq!(again, fd);
}

#[test]
fn k12_a_cancelled_receive_may_deliver_first() {
    let (world, mut a, mut b, fd, peer) = pair(Faults::none());
    b.recv(peer);
    a.send(fd, b"race");
    b.poll();
    a.poll();
    world.advance_by(std::time::Duration::from_millis(1));
    world.set_faults(always(Fault::CancelRace));
    let cancel = Token::new(Tag::Close, 0, 0);
    b.ring.push(Op::Cancel { target: recv_token(peer) }, cancel);
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(results(&seen[1], Tag::Recv), [4, -libc::ECANCELED]);
    assert_eq!(results(&seen[1], Tag::Close), [0]);
}

#[test]
fn k12_a_late_cancellation_says_so() {
    let (world, mut a, mut b, fd, _) = pair(always(Fault::CancelLate));
    a.recv(fd);
    a.ring.push(Op::Cancel { target: recv_token(fd) }, Token::new(Tag::Close, 0, 0));
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(results(&seen[0], Tag::Close), [-libc::EALREADY]);
    assert_eq!(results(&seen[0], Tag::Recv), [-libc::ECANCELED]);
}

#[test]
fn k13_hazard_42_an_overflow_ends_receives_and_loses_nothing() {
    let faults = Faults::none().shaped(|s| s.cq_entries = 4);
    let (world, mut a, mut b, fd, peer) = pair(faults);
    let text: Vec<u8> = (0..2_000_u32).map(|i| (i / 7) as u8).collect();
    a.send(fd, &text);
    settle(&world, &mut [&mut a, &mut b]);
    let mut got = Vec::new();
    let mut ended_with_data = false;
    while got.len() < text.len() {
        b.recv(peer);
        let seen = b.poll();
        for completion in &seen {
            ended_with_data |= !completion.more() && completion.result > 0;
            got.extend(b.data(completion));
        }
    }
    assert!(ended_with_data);
    assert_eq!(got, text);
}

#[test]
fn k14_enter_may_do_nothing_and_the_clock_still_moves() {
    let (world, mut a, _b, fd, _) = pair(Faults::none());
    world.set_faults(always(Fault::EnterNothing));
    a.recv(fd);
    assert_eq!(a.poll().len(), 0);
    assert!(a.ring.has_work() && world.advance_to_next());
    world.heal();
    a.poll();
    assert!(!a.ring.has_work());
}

#[test]
fn k16_a_poll_ends_or_lies() {
    let world = World::new(1, Faults::none());
    let mut a = Host::new(&world, 0);
    let fd = world.pollable(a.ring.node());
    let token = Token::new(Tag::Watch, 0, 0);
    let op = Op::Poll { sock: Sock::plain(fd), mask: libc::POLLIN as u32, multi: true };
    a.ring.push(op, token);
    assert_eq!(a.poll().len(), 0);
    world.set_readiness(a.ring.node(), fd, libc::POLLIN as u32);
    let seen = a.poll();
    assert!(seen[0].result == i32::from(libc::POLLIN) && seen[0].more());
    assert_eq!(a.poll().len(), 0, "an edge is reported once");
    world.set_faults(always(Fault::PollSpurious).with(Fault::PollEnds, 1_000_000));
    world.set_readiness(a.ring.node(), fd, 0);
    let seen = a.poll();
    assert!(seen[0].result == i32::from(libc::POLLIN) && !seen[0].more());
    world.close_fd(a.ring.node(), fd);
    assert_eq!(world.open_fds(a.ring.node()), 0);
}

#[test]
fn k17_the_fixed_file_table() {
    let (world, mut a, mut b, fd, _) = pair(Faults::none());
    let install = Op::Install { fd: &raw const fd, slot: 5 };
    a.ring.push(install, Token::new(Tag::Install, 0, 0));
    assert_eq!(results(&a.poll(), Tag::Install), [1]);
    a.ring.close_now(fd);
    let sock = Sock { fd, slot: 5 };
    a.ring.push(Op::RecvMulti { sock, group: GROUP }, recv_token(5));
    a.ring.push(Op::Cancel { target: recv_token(5) }, Token::IGNORE);
    a.ring.push(Op::CloseSlot { slot: 5, or_nothing: false }, Token::new(Tag::Close, 0, 5));
    let seen = settle(&world, &mut [&mut a, &mut b]);
    assert_eq!(results(&seen[0], Tag::Recv), [-libc::ECANCELED]);
    assert_eq!(results(&seen[0], Tag::Close), [0]);
    assert_eq!((world.open_slots(0), world.violations()), (0, vec![]));
    for or_nothing in [true, false] {
        assert_eq!(world.violations(), [""; 0]);
        a.ring.push(Op::CloseSlot { slot: 5, or_nothing }, Token::new(Tag::Close, 0, 5));
        assert_eq!(results(&a.poll(), Tag::Close), [-libc::EBADF]);
    }
    violated(&world, "K17");
}

#[test]
fn the_wake_up_is_a_flag_and_ends_like_any_poll() {
    let world = World::new(1, Faults::none());
    let mut a = Host::new(&world, 0);
    let waker = a.ring.waker();
    waker.wake();
    assert!(!a.ring.has_work(), "nothing is armed");
    a.ring.arm_wake();
    assert!(a.ring.has_work());
    let seen = a.poll();
    assert!(seen[0].token == Token::new(Tag::Wake, 0, 0) && seen[0].more());
    world.set_faults(always(Fault::PollEnds));
    waker.wake();
    assert!(!a.poll()[0].more());
    a.ring.arm_wake();
    assert_eq!(world.violations(), [""; 0]);
}

#[test]
fn a_requested_wake_up_is_where_the_clock_goes() {
    let world = World::new(1, Faults::none());
    let mut a = Host::new(&world, 0);
    a.ring.enter(Wait::For(5_000)).unwrap();
    let before = world.now_ns();
    assert!(world.advance_to_next());
    assert_eq!(world.now_ns() - before, 5_000);
    a.ring.enter(Wait::Forever).unwrap();
    assert!(!world.advance_to_next());
}

#[test]
fn every_operation_can_be_the_one_that_fails() {
    let script = |faults: Faults| {
        let world = World::new(1, faults);
        let mut a = Host { ring: world.ring(), buffers: Vec::new() };
        let mut failed = 0;
        failed += usize::from(a.ring.group_register(GROUP, 8).is_err());
        match a.ring.tcp_listen(&TcpListenConfig::new(any_port())) {
            Ok(fd) => {
                failed += usize::from(a.ring.local_addr(fd).is_err());
                let poll = Op::Poll { sock: Sock::plain(fd), mask: 1, multi: false };
                a.ring.push(poll, Token::new(Tag::Accept, 0, 0));
                a.ring.push(Op::CloseFd { fd }, Token::new(Tag::Close, 0, 0));
                failed += a.poll().iter().filter(|c| c.result == -libc::ENOMEM).count();
                assert_eq!(world.open_fds(0), 0, "K19: a failed close closes");
            }
            Err(_) => failed += 1,
        }
        (world.operations(), failed)
    };
    let (count, failed) = script(Faults::none());
    assert_eq!((count, failed), (5, 0));
    for n in 1..=count {
        assert_eq!(script(Faults::fail_nth(n, libc::ENOMEM)).1, 1, "operation {n}");
    }
}

#[test]
fn a_ring_that_goes_away_lets_go_of_everything() {
    let (world, mut a, mut b, fd, peer) = pair(Faults::none());
    a.recv(fd);
    a.poll();
    a.ring.close_now(fd);
    violated(&world, "K11");
    b.recv(peer);
    assert_eq!(world.pending_ops(0), 1);
    drop(a);
    assert_eq!(world.pending_ops(0), 0);
    let seen = settle(&world, &mut [&mut b]);
    assert_eq!(results(&seen[0], Tag::Recv), [0], "the last reference sends the FIN");
}
