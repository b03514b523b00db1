//! Raw io_uring HTTP/1.1 server with one fixed answer: the limit that real servers are compared with.
//!
//! Counts request terminators (CRLFCRLF) across reads and sends that many copies of one prebuilt response. Its Date
//! header has the right shape and is never refreshed.
//!
//! Usage: `http-uring PORT [NBUFS=1024] [BUFSZ=2048]`
use io_uring::{cqueue, opcode, types};
use uringkit::{push, ud, unud, BufRing};
peerkit::counting!();

const ACCEPT: u8 = 1;
const RECV: u8 = 2;
const SEND: u8 = 3;
const CLOSE: u8 = 4;
const K: usize = 64;

#[derive(Default, Clone, Copy)]
struct Conn {
    st: u8,
    owed: u32,
    busy: bool,
    dead: bool,
}

fn main() {
    peerkit::init();
    peerkit::backend!("io_uring");
    let lfd = uringkit::listen(peerkit::port());
    let nb: u16 = peerkit::arg(2, "1024").parse().unwrap();
    let bs: u32 = peerkit::arg(3, "2048").parse().unwrap();
    let one = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nContent-Type: text/plain\r\nDate: Fri, 20 Nov 2026 20:00:00 GMT\r\n\r\nHello, World!";
    let resp = one.repeat(K);
    let mut ring = uringkit::ring(4096, 32768, true).unwrap();
    let mut br = BufRing::new(&ring, nb, bs, 0).unwrap();
    ring.submitter().register_files_sparse(16384).unwrap();
    let _ = ring.submitter().register_ring_fd();
    let mut conns = vec![Conn::default(); 16384];
    let (sub, mut sq, mut cq) = ring.split();
    let accept = || {
        opcode::AcceptMulti::new(types::Fd(lfd))
            .allocate_file_index(true)
            .build()
            .user_data(ud(ACCEPT, 0, 0))
    };
    let recv =
        |i: u32| opcode::RecvMulti::new(types::Fixed(i), 0).build().user_data(ud(RECV, 0, i));
    let close = |i: u32| {
        opcode::Close::new(types::Fixed(i))
            .build()
            .flags(io_uring::squeue::Flags::SKIP_SUCCESS)
            .user_data(ud(CLOSE, 0, i))
    };
    push(&sub, &mut sq, &accept());
    loop {
        sq.sync();
        match sub.submit_and_wait(1) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(e) => panic!("{e}"),
        }
        sq.sync();
        cq.sync();
        for e in &mut cq {
            let (op, _, i) = unud(e.user_data());
            let r = e.result();
            if op == ACCEPT {
                if r >= 0 {
                    conns[r as usize] = Conn::default();
                    push(&sub, &mut sq, &recv(r as u32));
                }
                if !cqueue::more(e.flags()) {
                    push(&sub, &mut sq, &accept());
                }
                continue;
            }
            if op == CLOSE {
                continue;
            }
            let c = &mut conns[i as usize];
            if op == RECV {
                if r > 0 {
                    let bid = cqueue::buffer_select(e.flags()).unwrap();
                    let data = unsafe { std::slice::from_raw_parts(br.ptr(bid), r as usize) };
                    c.owed += scan(&mut c.st, data);
                    br.recycle(bid);
                    br.commit();
                    if !cqueue::more(e.flags()) {
                        push(&sub, &mut sq, &recv(i));
                    }
                } else if r == -libc::ENOBUFS {
                    push(&sub, &mut sq, &recv(i));
                } else {
                    c.dead = true;
                }
            } else {
                c.busy = false;
                if r < 0 {
                    c.dead = true;
                }
            }
            if c.busy {
                continue;
            }
            if c.dead {
                push(&sub, &mut sq, &close(i));
            } else if c.owed > 0 {
                let m = (c.owed as usize).min(K);
                c.owed -= m as u32;
                c.busy = true;
                let s = opcode::Send::new(types::Fixed(i), resp.as_ptr(), (m * one.len()) as u32)
                    .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
                    .build()
                    .user_data(ud(SEND, 0, i));
                push(&sub, &mut sq, &s);
            }
        }
    }
}

/// Byte-wise CRLFCRLF matcher with carry state.
#[inline]
fn scan(st: &mut u8, d: &[u8]) -> u32 {
    let mut s = *st;
    let mut n = 0;
    for &b in d {
        s = match (s, b) {
            (0 | 2, b'\r') => s + 1,
            (1, b'\n') => 2,
            (3, b'\n') => {
                n += 1;
                0
            }
            (_, b'\r') => 1,
            _ => 0,
        };
    }
    *st = s;
    n
}
