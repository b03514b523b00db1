//! Compares ways of echoing UDP inside one process: the way changes every slice, so all see the same memory, flows and
//! neighbours, and differences of one percent show.
//!
//! Usage: `udp-ab PORT NBUFS MODE MODE...`; after `SLICES` slices of each mode it prints a table and ends. Keep it loaded
//! meanwhile (loadgen --proto udp with enough `--secs`).
//!
//! MODE is one of
//! * `pN` readiness by a one-shot poll armed when the socket is empty, recvmmsg/sendmmsg in batches of N
//! * `mN` the same with a multishot poll that stays armed
//! * `hN` one batch a tick; no poll is armed while batches are not empty
//! * `qN` as `pN`, but the replies are SENDs with address on the ring, which complete silently
//! * `bN` blocking recvmmsg(MSG_WAITFORONE), no ring
//! * `r` multishot recvmsg, a SEND with address each; `rs` its sends complete silently; `rm` sends by sendmmsg
//!
//! and `d` after `pN` or `mN`: receive until EAGAIN, at most `DRAIN_MAX` times, instead of
//! until a batch is not full.
use io_uring::{cqueue, opcode, squeue, types};
use std::os::fd::AsRawFd;
use udp_echo::Batch;
use uringkit::{push, ud, unud, BufRing};
peerkit::counting!();

const POLL: u8 = 1;
const RECV: u8 = 2;
const SEND: u8 = 3;
const CANCEL: u8 = 4;
const SLICE_NS: u64 = 18_000_000;
/// Not counted at the start of a slice: work that the mode before has begun.
const SETTLE_NS: u64 = 4_000_000;
const SLICES: usize = 51;
/// Batches taken from a socket before anything else gets its turn: a fast peer never lets it run empty.
const DRAIN_MAX: u32 = 8;
const SENDMMSG_MAX: usize = 64;

struct Mode {
    name: String,
    batch: Batch,
    us: Vec<f64>,
}

fn now_ns(clock: libc::clockid_t) -> u64 {
    unsafe {
        let mut t: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(clock, &mut t);
        t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
    }
}

fn report(modes: &[Mode]) {
    let n = modes[0].us.len();
    println!(
        "{} slices of {} ms, CPU us per datagram\n\n| mode | median | ratio | 95 % interval |",
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
    let s = udp_echo::socket(peerkit::port());
    peerkit::backend!("io_uring");
    let raw = s.as_raw_fd();
    let mut modes: Vec<Mode> = std::env::args()
        .skip(3)
        .map(|name| {
            let digits: String = name.chars().filter(char::is_ascii_digit).collect();
            Mode { batch: Batch::new(digits.parse().unwrap_or(SENDMMSG_MAX)), name, us: Vec::new() }
        })
        .collect();
    assert!(!modes.is_empty(), "no mode given");
    let mut ring = uringkit::ring(4096, 16384, true).unwrap();
    let mut br = BufRing::new(&ring, peerkit::arg(2, "2048").parse().unwrap(), 2048, 0).unwrap();
    ring.submitter().register_files(&[raw]).unwrap();
    let _ = ring.submitter().register_ring_fd();
    let mut hdr: libc::msghdr = unsafe { std::mem::zeroed() };
    hdr.msg_namelen = 16;
    let fd = types::Fixed(0);
    let mut out = Batch::new(SENDMMSG_MAX);
    let mut bids: Vec<u16> = Vec::new();
    let (sub, mut sq, mut cq) = ring.split();
    let (mut at, mut armed, mut messages) = (0usize, false, 0u64);
    let (mut slice_start, mut cpu_start) = (0u64, None::<u64>);
    loop {
        let mode = &mut modes[at];
        let kind = mode.name.as_bytes()[0];
        let (drain, silent, mm) =
            (mode.name.contains('d'), mode.name.contains('s'), mode.name == "rm");
        if kind == b'b' {
            messages += mode.batch.echo_with(raw, libc::MSG_WAITFORONE) as u64;
        } else {
            let mut hot = false;
            for _ in 0..if kind == b'r' { 0 } else { DRAIN_MAX } {
                let n = if kind == b'q' {
                    let n = mode.batch.receive(raw, libc::MSG_DONTWAIT);
                    for i in 0..n {
                        let (v, iov) = (&mode.batch.v[i], &mode.batch.iov[i]);
                        let e = opcode::Send::new(fd, iov.iov_base.cast(), v.msg_len)
                            .dest_addr(v.msg_hdr.msg_name.cast())
                            .dest_addr_len(16)
                            .flags(libc::MSG_DONTWAIT)
                            .build();
                        push(
                            &sub,
                            &mut sq,
                            &e.flags(squeue::Flags::SKIP_SUCCESS).user_data(ud(CANCEL, 0, 0)),
                        );
                    }
                    sq.sync();
                    sub.submit().unwrap();
                    sq.sync();
                    mode.batch.reset(n);
                    n
                } else {
                    mode.batch.echo(raw)
                };
                messages += n as u64;
                hot = kind == b'h' && n > 0;
                if n == 0 || hot || (!drain && n < mode.batch.len()) {
                    break;
                }
            }
            if !armed && !hot {
                armed = true;
                push(
                    &sub,
                    &mut sq,
                    &if kind == b'r' {
                        opcode::RecvMsgMulti::new(fd, &hdr, 0).build().user_data(ud(RECV, 0, 0))
                    } else {
                        opcode::PollAdd::new(fd, libc::POLLIN as u32)
                            .multi(kind == b'm')
                            .build()
                            .user_data(ud(POLL, 0, 0))
                    },
                );
            }
            sq.sync();
            let got = if hot {
                unsafe { sub.enter::<libc::sigset_t>(sq.len() as u32, 0, 1, None) }
            } else {
                sub.submit_and_wait(1)
            };
            match got {
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(e) => panic!("{e}"),
            }
            sq.sync();
            cq.sync();
            for e in &mut cq {
                let (op, bid, _) = unud(e.user_data());
                let r = e.result();
                match op {
                    SEND if !silent => br.recycle(bid),
                    POLL => armed = cqueue::more(e.flags()),
                    RECV => {
                        armed = cqueue::more(e.flags());
                        if r <= 0 {
                            continue;
                        }
                        messages += 1;
                        let bid = cqueue::buffer_select(e.flags()).unwrap();
                        let b = unsafe { std::slice::from_raw_parts(br.ptr(bid), r as usize) };
                        let m = types::RecvMsgOut::parse(b, &hdr).unwrap();
                        let d = m.payload_data();
                        if mm {
                            let i = bids.len();
                            out.iov[i] =
                                libc::iovec { iov_base: d.as_ptr() as *mut _, iov_len: d.len() };
                            out.v[i].msg_hdr.msg_name = m.name_data().as_ptr() as *mut _;
                            bids.push(bid);
                            if bids.len() == SENDMMSG_MAX {
                                out.send(raw, bids.len());
                                bids.drain(..).for_each(|b| br.recycle(b));
                            }
                            continue;
                        }
                        let e = opcode::Send::new(fd, d.as_ptr(), d.len() as u32)
                            .dest_addr(m.name_data().as_ptr().cast())
                            .dest_addr_len(16)
                            .flags(if silent { libc::MSG_DONTWAIT } else { 0 })
                            .build()
                            .user_data(ud(SEND, bid, 0));
                        if silent {
                            bids.push(bid);
                            push(&sub, &mut sq, &e.flags(squeue::Flags::SKIP_SUCCESS));
                        } else {
                            push(&sub, &mut sq, &e);
                        }
                    }
                    _ => {}
                }
            }
            if mm && !bids.is_empty() {
                out.send(raw, bids.len());
            } else if silent {
                sq.sync();
                sub.submit().unwrap();
                sq.sync();
            }
            bids.drain(..).for_each(|b| br.recycle(b));
            br.commit();
        }
        let now = now_ns(libc::CLOCK_MONOTONIC);
        if slice_start == 0 {
            if messages < 20_000 {
                continue; // warm-up
            }
            slice_start = now;
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
            // take down what the old mode has armed
            if armed {
                push(
                    &sub,
                    &mut sq,
                    &opcode::AsyncCancel2::new(types::CancelBuilder::any().all())
                        .build()
                        .user_data(ud(CANCEL, 0, 0)),
                );
            }
            while armed {
                sq.sync();
                sub.submit_and_wait(1).unwrap();
                sq.sync();
                cq.sync();
                for e in &mut cq {
                    let (op, bid, _) = unud(e.user_data());
                    if op == SEND && !silent {
                        br.recycle(bid);
                    } else if op == RECV || op == POLL {
                        armed = cqueue::more(e.flags());
                        if let Some(b) = cqueue::buffer_select(e.flags()) {
                            br.recycle(b); // its sender notices the loss and goes on
                        }
                    }
                }
                br.commit();
            }
            slice_start = now_ns(libc::CLOCK_MONOTONIC);
        }
    }
}
