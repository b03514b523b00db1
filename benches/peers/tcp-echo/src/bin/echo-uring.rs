//! Raw io_uring TCP echo: the limit that real servers are compared with.
//!
//! Usage: `echo-uring PORT [NBUFS=1024] [BUFSZ=4096] [FLAGS]`
//!
//! FLAGS, any of:
//! * `f` ordinary fds instead of direct descriptors
//! * `c` COOP_TASKRUN instead of DEFER_TASKRUN
//! * `z` SEND_ZC
//! * `b` recv bundles (experimental)
//! * `d` a direct send(2) per received buffer (implies `f`)
//! * `p` busy-poll the ring, never sleep
//! * `x` send without MSG_WAITALL
//! * `v` SENDMSG with one iovec instead of SEND
use io_uring::{cqueue, opcode, types};
use std::collections::VecDeque;
use uringkit::{push, ud, unud, BufRing};
peerkit::counting!();

const ACCEPT: u8 = 1;
const RECV: u8 = 2;
const SEND: u8 = 3;
const CLOSE: u8 = 4;

struct Conn {
    msg: libc::msghdr,
    iov: libc::iovec,
    q: VecDeque<(u16, u32)>,
    busy: bool,
    dead: bool,
    zc_len: i32,
}

impl Conn {
    fn new() -> Self {
        // SAFETY: both are plain C structures for which zero is a value
        let (msg, iov) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Conn { msg, iov, q: VecDeque::new(), busy: false, dead: false, zc_len: 0 }
    }
}

fn main() {
    peerkit::init();
    peerkit::backend!("io_uring");
    let port = peerkit::port();
    let nbufs: u16 = peerkit::arg(2, "1024").parse().unwrap();
    let bufsz: u32 = peerkit::arg(3, "4096").parse().unwrap();
    let fl = peerkit::arg(4, "");
    let direct = fl.contains('d');
    let vectored = fl.contains('v');
    let nowait = fl.contains('x');
    let spin = fl.contains('p');
    let fixed = !fl.contains('f') && !direct;
    let zc = fl.contains('z');
    let bundle = fl.contains('b');
    let lfd = uringkit::listen(port);
    let mut ring = uringkit::ring(4096, 32768, !fl.contains('c')).unwrap();
    let mut br = BufRing::new(&ring, nbufs, bufsz, 0).unwrap();
    if fixed {
        ring.submitter().register_files_sparse(16384).unwrap();
    }
    let _ = ring.submitter().register_ring_fd();
    let mut conns: Vec<Conn> = (0..16384).map(|_| Conn::new()).collect();
    let (sub, mut sq, mut cq) = ring.split();
    let accept = || {
        if fixed {
            opcode::AcceptMulti::new(types::Fd(lfd))
                .allocate_file_index(true)
                .build()
                .user_data(ud(ACCEPT, 0, 0))
        } else {
            opcode::AcceptMulti::new(types::Fd(lfd)).build().user_data(ud(ACCEPT, 0, 0))
        }
    };
    macro_rules! on_fd {
        ($i:expr, $f:ident => $e:expr) => {
            if fixed {
                let $f = types::Fixed($i);
                $e
            } else {
                let $f = types::Fd($i as i32);
                $e
            }
        };
    }
    let recv = |i: u32| {
        on_fd!(i, fd => if bundle {
            opcode::RecvMultiBundle::new(fd, 0).build()
        } else {
            opcode::RecvMulti::new(fd, 0).build()
        })
        .user_data(ud(RECV, 0, i))
    };
    let heads: Vec<*mut Conn> = conns.iter_mut().map(|c| c as *mut Conn).collect();
    let send = |i: u32, bid: u16, p: *const u8, n: u32| {
        let fl = if nowait { libc::MSG_NOSIGNAL } else { libc::MSG_WAITALL | libc::MSG_NOSIGNAL };
        on_fd!(i, fd => if vectored {
            // SAFETY: `conns` never moves, and a connection has one send in flight at most
            let c: *mut Conn = heads[i as usize];
            let c = unsafe { &mut *c };
            c.iov = libc::iovec { iov_base: p as *mut _, iov_len: n as usize };
            c.msg.msg_iov = &mut c.iov;
            c.msg.msg_iovlen = 1;
            opcode::SendMsg::new(fd, &c.msg).flags(fl as u32).build()
        } else if zc {
            opcode::SendZc::new(fd, p, n).flags(fl).build()
        } else {
            opcode::Send::new(fd, p, n).flags(fl).build()
        })
        .user_data(ud(SEND, bid, i))
    };
    push(&sub, &mut sq, &accept());
    let mut starved: Vec<u32> = Vec::new();
    loop {
        sq.sync();
        let got = if spin {
            let n = sq.len() as u32;
            unsafe { sub.enter::<libc::sigset_t>(n, 0, 1, None) }
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
        let mut freed = false;
        for e in &mut cq {
            let (op, bid, i) = unud(e.user_data());
            let r = e.result();
            match op {
                RECV => {
                    if r > 0 {
                        let mut b = cqueue::buffer_select(e.flags()).unwrap();
                        let mut left = r as u32;
                        let c = &mut conns[i as usize];
                        while left > 0 {
                            let n = left.min(bufsz);
                            left -= n;
                            if direct && !c.busy {
                                let w = unsafe {
                                    libc::send(
                                        i as i32,
                                        br.ptr(b).cast(),
                                        n as usize,
                                        libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                                    )
                                };
                                if w == n as isize {
                                    br.recycle(b);
                                    freed = true;
                                    b = (b + 1) & (nbufs - 1);
                                    continue;
                                }
                                let w = w.max(0) as u32;
                                c.busy = true;
                                push(
                                    &sub,
                                    &mut sq,
                                    &send(i, b, unsafe { br.ptr(b).add(w as usize) }, n - w),
                                );
                                b = (b + 1) & (nbufs - 1);
                                continue;
                            }
                            if c.busy {
                                c.q.push_back((b, n));
                            } else {
                                c.busy = true;
                                push(&sub, &mut sq, &send(i, b, br.ptr(b), n));
                            }
                            // bundles span consecutive ring slots; valid here only while the
                            // ring is recycled in order, so bundle mode is an experiment
                            b = (b + 1) & (nbufs - 1);
                        }
                        if !cqueue::more(e.flags()) {
                            push(&sub, &mut sq, &recv(i));
                        }
                    } else if r == -libc::ENOBUFS {
                        starved.push(i);
                    } else {
                        conns[i as usize].dead = true;
                        if !conns[i as usize].busy {
                            close(&sub, &mut sq, fixed, i);
                        }
                    }
                }
                SEND => {
                    let c = &mut conns[i as usize];
                    if zc {
                        if !cqueue::notif(e.flags()) {
                            c.zc_len = r;
                            if cqueue::more(e.flags()) {
                                continue;
                            }
                        }
                    }
                    br.recycle(bid);
                    freed = true;
                    if r < 0 && !zc {
                        c.dead = true;
                    }
                    if let (Some((b, n)), false) = (c.q.pop_front(), c.dead) {
                        push(&sub, &mut sq, &send(i, b, br.ptr(b), n));
                    } else {
                        c.busy = false;
                        while let Some((b, _)) = c.q.pop_front() {
                            br.recycle(b);
                        }
                        if c.dead {
                            close(&sub, &mut sq, fixed, i);
                        }
                    }
                }
                ACCEPT => {
                    if r >= 0 {
                        let c = &mut conns[r as usize];
                        c.dead = false;
                        c.busy = false;
                        push(&sub, &mut sq, &recv(r as u32));
                    }
                    if !cqueue::more(e.flags()) {
                        push(&sub, &mut sq, &accept());
                    }
                }
                _ => {}
            }
        }
        if freed {
            br.commit();
            for i in starved.drain(..) {
                push(&sub, &mut sq, &recv(i));
            }
        }
    }
}

fn close(
    sub: &io_uring::Submitter<'_>,
    sq: &mut io_uring::SubmissionQueue<'_>,
    fixed: bool,
    i: u32,
) {
    let e = if fixed {
        opcode::Close::new(types::Fixed(i)).build()
    } else {
        opcode::Close::new(types::Fd(i as i32)).build()
    };
    push(sub, sq, &e.flags(io_uring::squeue::Flags::SKIP_SUCCESS).user_data(ud(CLOSE, 0, i)));
}
