//! The ring against the real kernel: loopback, socket pairs and event descriptors alone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::*;
use crate::config::Toggle;
use crate::error::{Errno, KernelVersion, UringDenied};
use crate::sys::subprocess;

const RECV: Token = Token::new(Tag::Recv, 1, 1);
const SEND: Token = Token::new(Tag::Send, 1, 1);
const GROUP: u16 = 3;

fn small() -> UringConfig {
    UringConfig { sq_entries: 64, ..UringConfig::default() }
}

fn ring() -> Uring {
    Uring::new(&small(), 16).unwrap()
}

/// Enters and reaps until `count` completions have come.
fn complete(ring: &mut Uring, count: usize) -> Vec<Completion> {
    let mut out = Vec::new();
    let end = Instant::now() + Duration::from_secs(5);
    while out.len() < count {
        assert!(Instant::now() < end, "{} of {count}: {out:?}", out.len());
        ring.enter(Wait::For(100_000_000)).unwrap();
        let mut seen = [Completion::EMPTY; 8];
        let got = ring.reap(&mut seen);
        out.extend_from_slice(&seen[..got]);
    }
    out
}

fn one(ring: &mut Uring) -> Completion {
    let all = complete(ring, 1);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

/// A connection on loopback.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    server.set_nonblocking(true).unwrap();
    (client, server)
}

fn plain(socket: &impl AsRawFd) -> Sock {
    Sock::plain(socket.as_raw_fd())
}

/// Memory that is lent to the kernel, with its ring group.
struct Buffers {
    memory: Vec<u8>,
    len: usize,
}

impl Buffers {
    fn lend(ring: &mut Uring, count: u16, len: usize) -> Self {
        let mut memory = vec![0; usize::from(count) * len];
        ring.group_register(GROUP, count.next_power_of_two()).unwrap();
        let base = memory.as_mut_ptr();
        for bid in 0..count {
            let ptr = base.wrapping_add(usize::from(bid) * len);
            ring.group_provide(GROUP, bid, ptr, len as u32);
        }
        ring.group_publish(GROUP);
        Self { memory, len }
    }

    fn give_back(&mut self, ring: &mut Uring, bid: u16) {
        let ptr = self.memory.as_mut_ptr().wrapping_add(usize::from(bid) * self.len);
        ring.group_provide(GROUP, bid, ptr, self.len as u32);
        ring.group_publish(GROUP);
    }

    fn bytes(&self, completion: &Completion) -> &[u8] {
        let at = usize::from(completion.buffer().unwrap()) * self.len;
        &self.memory[at..at + completion.result as usize]
    }
}

/// An operation that completes at once with `ENOENT`.
fn nop(token: Token) -> (Op, Token) {
    (Op::Cancel { target: Token::new(Tag::Ignore, 1, u32::MAX) }, token)
}

#[test]
fn k1_the_order_of_pushes_is_kept_when_both_queues_overflow() {
    let mut ring = ring();
    let config = ring.effective();
    assert_eq!((config.sq_entries, config.cq_entries), (64, 256));
    const COUNT: u32 = 2000;
    for i in 0..COUNT {
        let (op, token) = nop(Token::new(Tag::Close, 0, i));
        ring.push(op, token);
    }
    assert!(ring.has_work());
    let all = complete(&mut ring, COUNT as usize);
    for (i, completion) in all.iter().enumerate() {
        assert_eq!(completion.token, Token::new(Tag::Close, 0, i as u32));
        assert_eq!((completion.result, completion.flags), (-libc::ENOENT, 0));
    }
    assert!(ring.backlog.is_empty() && ring.in_flight == 0 && !ring.has_work());
}

#[test]
fn k1_the_backlog_keeps_its_place() {
    let mut ring = ring();
    // As if the kernel had taken nothing while the queue was full.
    for i in 0..64 {
        let (op, token) = nop(Token::new(Tag::Close, 0, i));
        ring.push(op, token);
    }
    assert!(ring.sq.is_full());
    for i in 64..200 {
        let (op, token) = nop(Token::new(Tag::Close, 0, i));
        ring.in_flight += 1;
        ring.backlog.push_back(entry(op).user_data(token.0));
    }
    for i in 200..300 {
        let (op, token) = nop(Token::new(Tag::Close, 0, i));
        ring.push(op, token);
    }
    let order: Vec<u32> = complete(&mut ring, 300).iter().map(|c| c.token.index()).collect();
    assert_eq!(order, (0..300).collect::<Vec<_>>());
    assert!(ring.backlog.is_empty() && ring.in_flight == 0);
}

#[test]
fn k3_without_work_nothing_is_due() {
    let mut ring = ring();
    let (_client, server) = tcp_pair();
    let _buffers = Buffers::lend(&mut ring, 2, 64);
    ring.push(Op::RecvMulti { sock: plain(&server), group: GROUP }, RECV);
    assert!(ring.has_work());
    ring.enter(Wait::None).unwrap();
    assert!(!ring.has_work() && ring.reap(&mut [Completion::EMPTY]) == 0);
    assert!(ring.shutdown());
}

#[test]
fn deferred_work_is_seen_without_a_call() {
    let mut ring = ring();
    assert!(ring.effective().defer_taskrun);
    let (mut client, server) = tcp_pair();
    let _buffers = Buffers::lend(&mut ring, 2, 64);
    ring.push(Op::RecvMulti { sock: plain(&server), group: GROUP }, RECV);
    ring.enter(Wait::None).unwrap();
    client.write_all(b"x").unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while !ring.has_work() {
        assert!(Instant::now() < end);
    }
    ring.enter(Wait::None).unwrap();
    assert_eq!(ring.reap(&mut [Completion::EMPTY]), 1);
    assert!(ring.shutdown());
}

#[test]
fn echoes_over_tcp_until_the_peer_is_done() {
    let mut ring = ring();
    let (mut client, server) = tcp_pair();
    let mut buffers = Buffers::lend(&mut ring, 4, 256);
    let sock = plain(&server);
    ring.push(Op::RecvMulti { sock, group: GROUP }, RECV);
    for round in 0..50_u8 {
        let sent = [round; 200];
        client.write_all(&sent).unwrap();
        let received = one(&mut ring);
        assert!(received.token == RECV && received.more());
        let echo = buffers.bytes(&received).to_vec();
        let (ptr, len) = (echo.as_ptr(), echo.len() as u32);
        ring.push(Op::Send { sock, ptr, len }, SEND);
        let done = one(&mut ring);
        assert_eq!((done.token, done.result), (SEND, 200));
        buffers.give_back(&mut ring, received.buffer().unwrap());
        let mut back = [0; 200];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, sent);
    }
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let end = one(&mut ring);
    assert_eq!((end.token, end.result, end.more(), end.buffer()), (RECV, 0, false, None));
    assert_eq!(ring.in_flight, 0);
}

#[test]
fn hazard_23_no_buffers_ends_the_receive_and_the_data_waits() {
    let mut ring = ring();
    let (mut client, server) = tcp_pair();
    let mut buffers = Buffers::lend(&mut ring, 2, 64);
    let op = Op::RecvMulti { sock: plain(&server), group: GROUP };
    ring.push(op, RECV);
    client.write_all(&[9; 64 * 3]).unwrap();
    let got = complete(&mut ring, 3);
    assert!(got[0].buffer().is_some() && got[1].buffer().is_some());
    assert_eq!((got[2].result, got[2].more()), (-libc::ENOBUFS, false));
    for done in &got[..2] {
        buffers.give_back(&mut ring, done.buffer().unwrap());
    }
    ring.push(op, RECV);
    let rest = one(&mut ring);
    assert_eq!((rest.result, rest.more()), (64, true));
    assert!(ring.shutdown());
}

#[test]
fn a_long_send_is_whole_or_says_how_far_it_came() {
    let mut ring = ring();
    let (mut client, server) = tcp_pair();
    // More than both sides' socket buffers hold together.
    let mut data = vec![0_u8; 32 << 20];
    for (i, chunk) in data.chunks_mut(1000).enumerate() {
        chunk.fill(i as u8);
    }
    let op = Op::Send { sock: plain(&server), ptr: data.as_ptr(), len: data.len() as u32 };
    ring.push(op, SEND);
    let total = data.len();
    let reader = std::thread::spawn(move || {
        let mut back = vec![0; total];
        client.read_exact(&mut back).unwrap();
        (client, back)
    });
    assert_eq!(one(&mut ring).result as usize, total);
    let (_client, back) = reader.join().unwrap();
    assert!(back == data);
    // Nobody reads now: the send stops half-way and is called off.
    ring.push(op, SEND);
    ring.enter(Wait::For(20_000_000)).unwrap();
    ring.push(Op::Cancel { target: SEND }, Token::IGNORE);
    let both = complete(&mut ring, 2);
    let short = both.iter().find(|c| c.token == SEND).unwrap().result;
    assert!(short > 0 && (short as usize) < total, "{short}");
    assert_eq!(ring.in_flight, 0);
}

#[test]
fn gathers_pieces_in_order() {
    let mut ring = ring();
    let (mut client, server) = tcp_pair();
    let mut gather = Box::new(Gather::new());
    let pieces: [&[u8]; 3] = [b"one ", b"two ", b"three"];
    for round in 0..2 {
        gather.clear();
        for piece in pieces {
            assert!(gather.push(piece.as_ptr(), piece.len()));
        }
        let sock = plain(&server);
        let sealed = gather.seal();
        if round == 0 {
            ring.push(Op::SendMsg { sock, gather: sealed, whole: true }, SEND);
            assert_eq!(one(&mut ring).result, 13);
        } else {
            ring.push(Op::SendMsgZc { sock, gather: sealed }, SEND);
            let both = complete(&mut ring, 2);
            assert!(both[0].result == 13 && both[0].more() && both[1].is_notif());
        }
        let mut back = [0; 13];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"one two three");
    }
}

#[test]
fn hazard_56_a_notification_follows_if_and_only_if_announced() {
    let mut ring = ring();
    let (mut client, server) = tcp_pair();
    let data = vec![5_u8; 20_000];
    let len = data.len() as u32;
    ring.push(Op::SendZc { sock: plain(&server), ptr: data.as_ptr(), len }, SEND);
    let reader = std::thread::spawn(move || {
        client.read_exact(&mut vec![0; len as usize]).unwrap();
        client
    });
    let both = complete(&mut ring, 2);
    assert_eq!((both[0].result, both[0].more(), both[0].is_notif()), (20_000, true, false));
    assert!(both[1].is_notif() && !both[1].more() && both[1].token == SEND);
    assert_ne!(both[1].result as u32 & Completion::ZC_COPIED, 0, "loopback copies");
    drop(reader.join().unwrap());
    // A Unix socket cannot do it.
    let (a, _b) = UnixStream::pair().unwrap();
    ring.push(Op::SendZc { sock: plain(&a), ptr: data.as_ptr(), len }, SEND);
    let mut all = Vec::new();
    while ring.in_flight > 0 {
        all.extend(complete(&mut ring, 1));
    }
    assert_eq!((all[0].result, all[0].is_notif()), (-libc::EOPNOTSUPP, false));
    assert_eq!(all.len(), if all[0].more() { 2 } else { 1 });
    assert!(all.iter().skip(1).all(Completion::is_notif));
}

#[test]
fn cancels_by_token() {
    let mut ring = ring();
    let (_client, server) = tcp_pair();
    let _buffers = Buffers::lend(&mut ring, 2, 64);
    ring.push(Op::RecvMulti { sock: plain(&server), group: GROUP }, RECV);
    ring.enter(Wait::None).unwrap();
    ring.push(Op::Cancel { target: RECV }, Token::IGNORE);
    let both = complete(&mut ring, 2);
    let target = both.iter().find(|c| c.token == RECV).unwrap();
    let cancel = both.iter().find(|c| c.token == Token::IGNORE).unwrap();
    assert_eq!((target.result, target.more(), cancel.result), (-libc::ECANCELED, false, 0));
    assert_eq!(ring.in_flight, 0);
}

#[test]
fn polls_once_and_again_and_again() {
    let mut ring = ring();
    let (mut a, mut b) = UnixStream::pair().unwrap();
    let token = Token::new(Tag::Watch, 0, 0);
    let mask = libc::POLLIN as u32;
    ring.push(Op::Poll { sock: plain(&a), mask, multi: false }, token);
    b.write_all(b"1").unwrap();
    let done = one(&mut ring);
    assert_eq!((done.result & libc::POLLIN as i32, done.more()), (libc::POLLIN as i32, false));
    a.read_exact(&mut [0]).unwrap();
    ring.push(Op::Poll { sock: plain(&a), mask, multi: true }, token);
    for _ in 0..3 {
        b.write_all(b"1").unwrap();
        let done = one(&mut ring);
        assert!(done.result & libc::POLLIN as i32 != 0 && done.more());
        a.read_exact(&mut [0]).unwrap();
    }
    assert!(ring.shutdown());
}

#[test]
fn a_wake_ends_the_sleep_that_it_precedes_or_interrupts() {
    let mut ring = ring();
    let wake = Token::new(Tag::Wake, 0, 0);
    ring.waker().wake();
    ring.arm_wake();
    // What came before the arming is forgotten: its cause is looked for after the arming anyway.
    ring.enter(Wait::None).unwrap();
    assert_eq!(ring.reap(&mut [Completion::EMPTY]), 0);
    for _ in 0..3 {
        let waker = ring.waker();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            waker.wake();
        });
        ring.enter(Wait::Forever).unwrap();
        let done = one(&mut ring);
        assert!(done.token == wake && done.more() && done.result > 0);
        thread.join().unwrap();
    }
    ring.waker().wake();
    ring.enter(Wait::Forever).unwrap();
    assert_eq!(one(&mut ring).token, wake);
    assert!(ring.shutdown());
}

#[test]
fn a_socket_lives_in_the_fixed_file_table() {
    let mut ring = ring();
    if ring.effective().fixed_files == 0 {
        // This kernel closes what is in the table too late.
        let config = UringConfig { fixed_files: Toggle::On, ..small() };
        let refused = Uring::new(&config, 16).err();
        assert!(matches!(refused, Some(IoError::NotSupportedOnBackend { .. })), "{refused:?}");
        return;
    }
    assert_eq!(ring.effective().fixed_files, 16);
    let (mut client, server) = tcp_pair();
    let fd: Fd = server.as_raw_fd();
    let sock = Sock { fd: -1, slot: 7 };
    ring.push(Op::Install { fd: &raw const fd, slot: 7 }, Token::new(Tag::Install, 0, 0));
    assert_eq!(one(&mut ring).result, 1);
    drop(server);
    let mut buffers = Buffers::lend(&mut ring, 2, 64);
    ring.push(Op::RecvMulti { sock, group: GROUP }, RECV);
    client.write_all(b"ping").unwrap();
    let got = one(&mut ring);
    assert_eq!(buffers.bytes(&got), b"ping");
    buffers.give_back(&mut ring, got.buffer().unwrap());
    ring.push(Op::Send { sock, ptr: b"pong".as_ptr(), len: 4 }, SEND);
    assert_eq!(one(&mut ring).result, 4);
    ring.push(Op::Shutdown { sock, how: libc::SHUT_WR }, Token::new(Tag::Shutdown, 0, 0));
    assert_eq!(one(&mut ring).result, 0);
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"pong");
    ring.push(Op::Cancel { target: RECV }, Token::IGNORE);
    complete(&mut ring, 2);
    ring.push(Op::CloseSlot { slot: 7, or_nothing: false }, Token::new(Tag::Close, 0, 0));
    assert_eq!(one(&mut ring).result, 0);
    ring.push(Op::Send { sock, ptr: b"x".as_ptr(), len: 1 }, SEND);
    assert_eq!(one(&mut ring).result, -libc::EBADF);
}

#[test]
fn connects_closes_and_is_refused() {
    let mut ring = ring();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = SockAddr::from(listener.local_addr().unwrap());
    let config = TcpConnectConfig::new(listener.local_addr().unwrap());
    let connect = Token::new(Tag::Connect, 0, 0);
    let fd = ring.tcp_socket(&config, &peer).unwrap();
    ring.push(Op::Connect { sock: Sock::plain(fd), addr: &raw const peer }, connect);
    assert_eq!((one(&mut ring).result, ring.peer_addr(fd)), (0, Ok(peer)));
    ring.push(Op::CloseFd { fd }, Token::new(Tag::Close, 0, 0));
    assert_eq!(one(&mut ring).result, 0);
    // A port that is in use, and on which nobody listens.
    let (client, _server) = tcp_pair();
    let nobody = SockAddr::from(client.local_addr().unwrap());
    let fd = ring.tcp_socket(&config, &nobody).unwrap();
    ring.push(Op::Connect { sock: Sock::plain(fd), addr: &raw const nobody }, connect);
    assert_eq!(one(&mut ring).result, -libc::ECONNREFUSED);
    ring.close_now(fd);
}

#[test]
fn waits_as_long_as_told() {
    let mut ring = ring();
    let timed = |ring: &mut Uring, wait| {
        let start = Instant::now();
        ring.enter(wait).unwrap();
        start.elapsed()
    };
    let fastest = |ring: &mut Uring, wait| (0..20).map(|_| timed(ring, wait)).min().unwrap();
    let five = timed(&mut ring, Wait::For(5_000_000));
    assert!((5..500).contains(&five.as_millis()), "{five:?}");
    assert!(fastest(&mut ring, Wait::None) < Duration::from_micros(15));
    assert!(fastest(&mut ring, Wait::For(0)) < Duration::from_millis(1));
    // What is already there is not waited for.
    let (op, token) = nop(Token::IGNORE);
    ring.push(op, token);
    ring.enter(Wait::None).unwrap();
    assert!(timed(&mut ring, Wait::Forever) < Duration::from_secs(1));
    complete(&mut ring, 1);
}

#[test]
fn shutdown_brings_everything_home_or_says_so() {
    let mut ring = ring();
    let (_client, server) = tcp_pair();
    let _buffers = Buffers::lend(&mut ring, 2, 64);
    ring.push(Op::RecvMulti { sock: plain(&server), group: GROUP }, RECV);
    ring.arm_wake();
    assert!(ring.shutdown() && ring.shutdown());
    drop(ring);
    // A zero-copy send to a peer that does not read holds its memory.
    let mut ring = self::ring();
    let (client, server) = tcp_pair();
    let data = vec![1_u8; 200_000];
    let len = data.len() as u32;
    ring.push(Op::SendZc { sock: plain(&server), ptr: data.as_ptr(), len }, SEND);
    ring.enter(Wait::For(20_000_000)).unwrap();
    let start = Instant::now();
    let home = ring.shutdown();
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(home, ring.in_flight == 0);
    drop((client, server));
    if !home {
        complete(&mut ring, 1);
    }
}

#[test]
fn hazard_7_a_dropped_ring_lets_go_of_its_groups_and_leaves_the_data() {
    let (mut client, mut server) = tcp_pair();
    let mut ring = ring();
    let buffers = Buffers::lend(&mut ring, 2, 64);
    ring.push(Op::RecvMulti { sock: plain(&server), group: GROUP }, RECV);
    ring.enter(Wait::None).unwrap();
    drop(ring);
    client.write_all(b"later").unwrap();
    std::thread::sleep(Duration::from_millis(10));
    assert!(buffers.memory.iter().all(|byte| *byte == 0));
    let mut back = [0; 5];
    server.set_nonblocking(false).unwrap();
    server.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"later");
}

#[test]
fn groups_are_numbered_below_16_and_sized_by_powers_of_two() {
    let mut ring = ring();
    ring.group_register(0, 8).unwrap();
    for (group, entries) in [(0, 8), (16, 8), (1, 3), (1, 0), (1, 40_000)] {
        let error = ring.group_register(group, entries).unwrap_err();
        assert!(matches!(error, IoError::InvalidArgument { .. }), "{error}");
    }
    // Unregistered is unregistered: the number is free again.
    let group = ring.groups[0].take().unwrap();
    group.unregister(&ring.ring().submitter());
    ring.group_register(0, 32_768).unwrap();
}

#[test]
fn every_capability_can_be_forced_on_and_off() {
    let all = |toggle| UringConfig {
        defer_taskrun: toggle,
        no_sqarray: toggle,
        register_ring_fd: toggle,
        fixed_files: toggle,
        zero_copy_send: toggle,
        ..small()
    };
    let version = crate::sys::kernel::version();
    for toggle in [Toggle::On, Toggle::Off] {
        let is_on = toggle == Toggle::On;
        // NO_SQARRAY since 6.6, a table that closes at once since 6.13.
        let has_all = (version.major, version.minor) >= (6, 13);
        let made = Uring::new(&all(toggle), 8);
        if is_on && !has_all {
            assert!(matches!(made, Err(IoError::NotSupportedOnBackend { .. })));
            continue;
        }
        let mut ring = made.unwrap();
        let got = ring.effective();
        let bits = [got.defer_taskrun, got.no_sqarray, got.ring_fd_registered, got.zero_copy_send];
        assert_eq!((bits, got.fixed_files), ([is_on; 4], if is_on { 8 } else { 0 }));
        assert_eq!(got.kernel, Some(version));
        let (op, token) = nop(RECV);
        ring.push(op, token);
        assert_eq!(one(&mut ring).token, RECV);
    }
}

#[test]
fn hazard_153_a_forked_child_leaves_the_ring_alone() {
    subprocess::run("ring::uring::tests::hazard_153_a_forked_child_leaves_the_ring_alone", || {
        let mut ring = ring();
        let (op, _) = nop(RECV);
        ring.push(op, RECV);
        // SAFETY: the child uses the ring, which is the point, and ends with `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let mut bad = i32::from(ring.enter(Wait::None) != Err(IoError::Forked));
            bad |= i32::from(ring.reap(&mut [Completion::EMPTY; 4]) != 0) << 1;
            bad |= i32::from(!ring.has_work()) << 2;
            ring.push(op, SEND);
            bad |= i32::from(ring.shutdown()) << 3;
            drop(ring);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(bad) };
        }
        let mut status = 0;
        // SAFETY: the status is a local that outlives the call.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0));
        let done = one(&mut ring);
        assert_eq!((done.token, ring.in_flight), (RECV, 0));
    });
}

#[test]
fn a_sandbox_that_denies_the_ring_is_named() {
    subprocess::run("ring::uring::tests::a_sandbox_that_denies_the_ring_is_named", || {
        // Filters add up, and the later one is asked first only when it is the stricter: from the
        // last call of the set-up to the first.
        let rows = [
            (libc::SYS_io_uring_enter, "io_uring_enter", libc::EPERM, UringDenied::SeccompEperm),
            (
                libc::SYS_io_uring_register,
                "io_uring_register",
                libc::EPERM,
                UringDenied::SeccompEperm,
            ),
            (libc::SYS_io_uring_setup, "io_uring_setup", libc::EPERM, UringDenied::SeccompEperm),
        ];
        for (call, syscall, code, denied) in rows {
            subprocess::deny(call, code);
            let error = Uring::new(&small(), 0).err();
            assert_eq!(error, Some(IoError::UringDenied { syscall, errno: Errno(code), denied }));
        }
    });
}

#[test]
fn hazard_75_a_busy_kernel_is_asked_again() {
    subprocess::run("ring::uring::tests::hazard_75_a_busy_kernel_is_asked_again", || {
        let busy = subprocess::Busy::new(libc::SYS_io_uring_enter);
        for (code, size) in [(libc::EBUSY, 16), (libc::EAGAIN, 16), (libc::EBUSY, 200)] {
            let mut ring = ring();
            let (here, mut there) = UnixStream::pair().unwrap();
            busy.begin(code);
            // The last row is more than the queue holds: the kernel has no room meanwhile.
            for n in 0..size {
                let poll = Op::Poll { sock: plain(&here), mask: libc::POLLIN as u32, multi: false };
                ring.push(poll, Token::new(Tag::Watch, 1, n));
            }
            there.write_all(b"x").unwrap();
            let mut seen = [Completion::EMPTY; 8];
            for wait in [Wait::None, Wait::For(1_000_000_000), Wait::Forever] {
                let start = Instant::now();
                assert_eq!(ring.enter(wait), Ok(()), "{code} is no error");
                assert!(start.elapsed() < Duration::from_millis(500), "it slept all the same");
                assert_eq!(ring.reap(&mut seen), 0, "the kernel took nothing");
            }
            let refused = busy.end();
            assert!(refused >= 3, "{refused} calls were refused");
            // Nothing was lost, doubled or overtaken.
            let all = complete(&mut ring, size as usize);
            let order: Vec<u32> = all.iter().map(|c| c.token.index()).collect();
            assert_eq!(order, (0..size).collect::<Vec<_>>());
            assert!(ring.shutdown());
        }
    });
}

/// The same of a whole shard: its `poll` neither fails nor forgets.
#[test]
fn hazard_75_a_shard_outlives_a_busy_kernel() {
    subprocess::run("ring::uring::tests::hazard_75_a_shard_outlives_a_busy_kernel", || {
        let busy = subprocess::Busy::new(libc::SYS_io_uring_enter);
        for code in [libc::EBUSY, libc::EAGAIN] {
            let mut io = crate::Io::new(crate::Config::default()).unwrap();
            let (here, mut there) = UnixStream::pair().unwrap();
            io.poll(Duration::ZERO).unwrap();
            busy.begin(code);
            io.watch_fd(here.as_raw_fd(), crate::Readiness::READABLE, 7).unwrap();
            there.write_all(b"x").unwrap();
            for _ in 0..20 {
                assert_eq!(io.poll(Duration::from_millis(1)), Ok(()));
                assert!(io.next_event().is_none(), "the kernel was not asked yet");
            }
            assert!(busy.end() >= 20);
            let end = Instant::now() + Duration::from_secs(5);
            loop {
                io.poll(Duration::from_millis(10)).unwrap();
                if let Some(event) = io.next_event() {
                    assert!(matches!(event, crate::Event::FdReady { token: 7, .. }), "{event:?}");
                    break;
                }
                assert!(Instant::now() < end, "it was forgotten");
            }
        }
    });
}

#[test]
fn a_sandbox_that_hides_the_ring_is_named() {
    subprocess::run("ring::uring::tests::a_sandbox_that_hides_the_ring_is_named", || {
        subprocess::deny(libc::SYS_io_uring_setup, libc::ENOSYS);
        let expected = IoError::UringDenied {
            syscall: "io_uring_setup",
            errno: Errno(libc::ENOSYS),
            denied: UringDenied::SeccompEnosys,
        };
        assert_eq!(Uring::new(&small(), 0).err(), Some(expected));
    });
}

/// Of kernels before 6.1, `Io::new` names what there is and what it takes.
#[test]
fn a_kernel_that_is_too_old_is_named() {
    subprocess::run("ring::uring::tests::a_kernel_that_is_too_old_is_named", || {
        subprocess::look_old();
        let found = crate::sys::kernel::version();
        let required = KernelVersion { major: 6, minor: 1 };
        assert_eq!(found.major, 2, "{found}");
        // Flags that it does not know, and no ring at all.
        for code in [libc::EINVAL, libc::ENOSYS] {
            subprocess::deny(libc::SYS_io_uring_setup, code);
            let error = crate::Io::new(crate::Config::default()).map(drop).unwrap_err();
            assert_eq!(error, IoError::KernelTooOld { required, found });
            let text = error.to_string();
            assert!(text.contains("6.1") && text.contains(&found.to_string()), "{text}");
        }
    });
}

#[test]
fn hazard_84_little_lockable_memory_halves_the_ring_and_none_is_named() {
    let name = "ring::uring::tests::\
                hazard_84_little_lockable_memory_halves_the_ring_and_none_is_named";
    subprocess::run(name, || {
        const NOBODY: u32 = 65_534;
        subprocess::set_limit(libc::RLIMIT_MEMLOCK, 64 << 10, 64 << 10);
        // Root's rings are not charged; without root this is somebody already.
        // SAFETY: the calls take no pointers.
        let uid = unsafe {
            if libc::geteuid() == 0 {
                assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
            }
            libc::geteuid()
        };
        assert_ne!(uid, 0);
        let mut ring = Uring::new(&UringConfig::default(), 0).unwrap();
        let entries = ring.effective().sq_entries;
        drop(ring);
        let first_that_charges = KernelVersion { major: 6, minor: 14 };
        let charges = entries != 1024 || crate::sys::kernel::version() >= first_that_charges;
        subprocess::set_limit(libc::RLIMIT_MEMLOCK, 0, 0);
        let expected = IoError::MemlockLimit { syscall: "io_uring_setup", limit_bytes: 0 };
        let none = Uring::new(&UringConfig::default(), 0).err();
        if charges {
            assert!((64..1024).contains(&entries), "{entries}");
            assert_eq!(none, Some(expected));
        } else {
            // Linux 6.1 and 6.12 do not charge the rings; 6.18 does.
            assert_eq!(none, None);
        }
        // Whatever this kernel charges, one that has no memory for the smallest ring says so.
        subprocess::deny(libc::SYS_io_uring_setup, libc::ENOMEM);
        assert_eq!(Uring::new(&UringConfig::default(), 0).err(), Some(expected));
    });
}

#[test]
fn without_descriptors_the_limit_is_named() {
    subprocess::run("ring::uring::tests::without_descriptors_the_limit_is_named", || {
        subprocess::set_limit(libc::RLIMIT_NOFILE, 24, 24);
        let mut spare = Vec::new();
        while let Ok(fd) = socket::event_fd() {
            spare.push(fd);
        }
        spare.pop();
        let expected = IoError::NofileLimit { syscall: "io_uring_setup", limit: 24 };
        assert_eq!(Uring::new(&small(), 0).err(), Some(expected));
        spare.clear();
        let has_table = Uring::new(&small(), 1).unwrap().effective().fixed_files == 1;
        let mut ring = Uring::new(&small(), 1 << 20).unwrap();
        assert_eq!(ring.effective().fixed_files, if has_table { 24 } else { 0 });
    });
}
