//! Compares ways of writing the same raw io_uring TCP echo inside one process: the way changes every slice, so both see
//! the same memory, connections and neighbours, and differences of one percent show.
//!
//! Usage: `echo-ab PORT NBUFS BUFSZ MODE MODE...`; after `SLICES` slices of each mode it prints a table and ends. Keep
//! it loaded meanwhile (loadgen with enough `--secs`).
//!
//! MODE is `-` (plain fd, SEND, MSG_WAITALL, all buffers published) or any of:
//! * `i` sends go through the registered file instead of the fd
//! * `v` SENDMSG with one iovec instead of SEND
//! * `x` no MSG_WAITALL
//! * `wN` at most about N buffers are published; the others wait on a stack, the warmest on top
//! * `nN` submits the sends after every N completions instead of once for all
use io_uring::{cqueue, opcode, types};
use std::collections::VecDeque;
use uringkit::{push, ud, unud, BufRing};
peerkit::counting!();

const ACCEPT: u8 = 1;
const RECV: u8 = 2;
const SEND: u8 = 3;
const CONNS_MAX: usize = 4096;
const SLICE_NS: u64 = 18_000_000;
/// Not counted at the start of a slice: work that the mode before has begun.
const SETTLE_NS: u64 = 6_000_000;
const SLICES: usize = 51;

#[derive(Clone, Default)]
struct Mode {
    name: String,
    fixed: bool,
    vectored: bool,
    nowait: bool,
    window: usize,
    chunk: usize,
    us: Vec<f64>,
}

fn number(s: &str, key: char) -> Option<usize> {
    let digits: String = s.split_once(key)?.1.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn now_ns(clock: libc::clockid_t) -> u64 {
    unsafe {
        let mut t: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(clock, &mut t);
        t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
    }
}

struct Conn {
    msg: libc::msghdr,
    iov: libc::iovec,
    q: VecDeque<(u16, u32)>,
    busy: bool,
    dead: bool,
}

fn report(modes: &[Mode]) {
    let n = modes[0].us.len();
    println!(
        "{} slices of {} ms, CPU us per message\n\n| mode | median | ratio | 95 % interval |",
        n,
        SLICE_NS / 1_000_000
    );
    println!("|---|---|---|---|");
    for m in modes {
        let mut r: Vec<f64> = m.us.iter().zip(&modes[0].us).map(|(a, b)| a / b).collect();
        let mut us = m.us.clone();
        r.sort_by(f64::total_cmp);
        us.sort_by(f64::total_cmp);
        let k = (n as f64 / 2.0 - 0.98 * (n as f64).sqrt()).max(0.0) as usize; // sign test, normal approximation
        println!(
            "| {} | {:.3} | {:.3} | {:.3} .. {:.3} |",
            m.name,
            us[n / 2],
            r[n / 2],
            r[k],
            r[n - 1 - k]
        );
    }
}

fn main() {
    peerkit::init();
    let lfd = uringkit::listen(peerkit::port());
    peerkit::backend!("io_uring");
    let nbufs: u16 = peerkit::arg(2, "1024").parse().unwrap();
    let bufsz: u32 = peerkit::arg(3, "4096").parse().unwrap();
    let mut modes: Vec<Mode> = std::env::args()
        .skip(4)
        .map(|s| Mode {
            fixed: s.contains('i'),
            vectored: s.contains('v'),
            nowait: s.contains('x'),
            window: number(&s, 'w').unwrap_or(nbufs as usize),
            chunk: number(&s, 'n').unwrap_or(usize::MAX),
            name: s,
            us: Vec::new(),
        })
        .collect();
    assert!(!modes.is_empty(), "no mode given");
    let mut ring = uringkit::ring(4096, 32768, true).unwrap();
    let mut br = BufRing::new(&ring, nbufs, bufsz, 0).unwrap();
    ring.submitter().register_files_sparse(CONNS_MAX as u32).unwrap();
    let _ = ring.submitter().register_ring_fd();
    let zero = || unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut conns: Vec<Conn> = (0..CONNS_MAX)
        .map(|_| {
            let (msg, iov) = zero();
            Conn { msg, iov, q: VecDeque::new(), busy: false, dead: false }
        })
        .collect();
    let (sub, mut sq, mut cq) = ring.split();
    let recv =
        |i: u32| opcode::RecvMulti::new(types::Fd(i as i32), 0).build().user_data(ud(RECV, 0, i));
    push(
        &sub,
        &mut sq,
        &opcode::AcceptMulti::new(types::Fd(lfd)).build().user_data(ud(ACCEPT, 0, 0)),
    );
    let mut starved: Vec<u32> = Vec::new();
    let mut stack: Vec<u16> = Vec::with_capacity(nbufs as usize);
    let mut published = nbufs as usize;
    let (mut at, mut messages) = (0usize, 0u64);
    let (mut slice_start, mut cpu_start) = (0u64, None::<u64>);
    let mut cur = modes[0].clone();
    loop {
        sq.sync();
        match sub.submit_and_wait(1) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(e) => panic!("{e}"),
        }
        sq.sync();
        cq.sync();
        let mut freed = false;
        macro_rules! send {
            ($i:expr, $c:expr, $bid:expr, $n:expr) => {{
                let fl = if cur.nowait {
                    libc::MSG_NOSIGNAL
                } else {
                    libc::MSG_WAITALL | libc::MSG_NOSIGNAL
                };
                let p = br.ptr($bid);
                $c.iov = libc::iovec { iov_base: p.cast(), iov_len: $n as usize };
                $c.msg.msg_iov = &mut $c.iov;
                $c.msg.msg_iovlen = 1;
                let e = match (cur.fixed, cur.vectored) {
                    (false, false) => {
                        opcode::Send::new(types::Fd($i as i32), p, $n).flags(fl).build()
                    }
                    (true, false) => opcode::Send::new(types::Fixed($i), p, $n).flags(fl).build(),
                    (false, true) => {
                        opcode::SendMsg::new(types::Fd($i as i32), &$c.msg).flags(fl as u32).build()
                    }
                    (true, true) => {
                        opcode::SendMsg::new(types::Fixed($i), &$c.msg).flags(fl as u32).build()
                    }
                };
                push(&sub, &mut sq, &e.user_data(ud(SEND, $bid, $i)));
            }};
        }
        let mut seen = 0;
        for e in &mut cq {
            let (op, bid, i) = unud(e.user_data());
            let r = e.result();
            let c = &mut conns[i as usize];
            match op {
                RECV if r > 0 => {
                    let b = cqueue::buffer_select(e.flags()).unwrap();
                    published -= 1;
                    messages += 1;
                    if c.busy {
                        c.q.push_back((b, r as u32));
                    } else {
                        c.busy = true;
                        send!(i, c, b, r as u32);
                    }
                    if !cqueue::more(e.flags()) {
                        push(&sub, &mut sq, &recv(i));
                    }
                }
                RECV if r == -libc::ENOBUFS => starved.push(i),
                RECV => {
                    c.dead = true; // the fd stays open until this program ends
                }
                SEND => {
                    stack.push(bid);
                    freed = true;
                    match c.q.pop_front() {
                        Some((b, n)) if r >= 0 => send!(i, c, b, n),
                        _ => c.busy = false,
                    }
                }
                ACCEPT if r >= 0 => {
                    sub.register_files_update(r as u32, &[r]).unwrap();
                    push(&sub, &mut sq, &recv(r as u32));
                }
                _ => {}
            }
            seen += 1;
            if seen % cur.chunk == 0 {
                sq.sync();
                sub.submit().unwrap();
                sq.sync();
            }
        }
        if freed || !starved.is_empty() {
            while published < cur.window {
                let Some(b) = stack.pop() else { break };
                br.recycle(b);
                published += 1;
            }
            br.commit();
            for i in starved.drain(..) {
                push(&sub, &mut sq, &recv(i));
            }
        }
        let now = now_ns(libc::CLOCK_MONOTONIC);
        if messages < 20_000 && slice_start == 0 {
            continue; // handshakes and warm-up
        }
        if slice_start == 0 {
            (slice_start, cpu_start) = (now, None);
        }
        if cpu_start.is_none() && now - slice_start >= SETTLE_NS {
            cpu_start = Some(now_ns(libc::CLOCK_THREAD_CPUTIME_ID));
            messages = 0;
        }
        if now - slice_start >= SLICE_NS {
            let cpu = now_ns(libc::CLOCK_THREAD_CPUTIME_ID) - cpu_start.take().unwrap_or(0);
            modes[at].us.push(cpu as f64 / 1e3 / messages.max(1) as f64);
            at = (at + 1) % modes.len();
            if at == 0 && modes[0].us.len() == SLICES {
                report(&modes);
                return;
            }
            cur = Mode { us: Vec::new(), ..modes[at].clone() };
            slice_start = now;
        }
    }
}
