//! Accepts TCP connections, learns the peer's address, waits for its end, closes: what a connection costs.
//!
//! Usage: `accept-uring PORT [FLAGS=a]`
//!
//! FLAGS, the first one of:
//! * `a` multishot accept on the ring, then getpeername(2)
//! * `b` multishot accept on the ring, address not asked for
//! * `d` multishot accept on the ring into direct descriptors, address not asked for
//! * `p` multishot poll on the ring, then accept4(2) until EAGAIN
//! * `q` as `p` with a one-shot poll, armed again after each round
//!
//! and `c`: close(2) instead of a CLOSE on the ring.
use io_uring::{cqueue, opcode, squeue, types};
use uringkit::{push, ud, unud, BufRing};
peerkit::counting!();

const ACCEPT: u8 = 1;
const RECV: u8 = 2;
const CLOSE: u8 = 3;

fn address(fd: i32) -> bool {
    unsafe {
        let mut a: libc::sockaddr_storage = std::mem::zeroed();
        let mut n = size_of::<libc::sockaddr_storage>() as u32;
        libc::getpeername(fd, (&mut a as *mut libc::sockaddr_storage).cast(), &mut n) == 0
    }
}

fn accept4(lfd: i32) -> i32 {
    unsafe {
        let mut a: libc::sockaddr_storage = std::mem::zeroed();
        let mut n = size_of::<libc::sockaddr_storage>() as u32;
        libc::accept4(
            lfd,
            (&mut a as *mut libc::sockaddr_storage).cast(),
            &mut n,
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    }
}

fn main() {
    peerkit::init();
    let lfd = uringkit::listen(peerkit::port());
    peerkit::backend!("io_uring");
    let fl = peerkit::arg(2, "a");
    let (fixed, polled, oneshot) =
        (fl.contains('d'), fl.contains('p') || fl.contains('q'), fl.contains('q'));
    let (ask, sync_close) = (fl.contains('a'), fl.contains('c'));
    unsafe { libc::fcntl(lfd, libc::F_SETFL, libc::O_NONBLOCK) };
    let mut ring = uringkit::ring(4096, 32768, true).unwrap();
    let mut br = BufRing::new(&ring, 256, 4096, 0).unwrap();
    if fixed {
        ring.submitter().register_files_sparse(16384).unwrap();
    }
    let _ = ring.submitter().register_ring_fd();
    let (sub, mut sq, mut cq) = ring.split();
    let accept = || {
        if polled {
            opcode::PollAdd::new(types::Fd(lfd), libc::POLLIN as u32).multi(!oneshot).build()
        } else if fixed {
            opcode::AcceptMulti::new(types::Fd(lfd)).allocate_file_index(true).build()
        } else {
            opcode::AcceptMulti::new(types::Fd(lfd))
                .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
                .build()
        }
        .user_data(ud(ACCEPT, 0, 0))
    };
    let recv = |i: i32| {
        if fixed {
            opcode::RecvMulti::new(types::Fixed(i as u32), 0).build()
        } else {
            opcode::RecvMulti::new(types::Fd(i), 0).build()
        }
        .user_data(ud(RECV, 0, i as u32))
    };
    let close = |i: i32| {
        if fixed {
            opcode::Close::new(types::Fixed(i as u32)).build()
        } else {
            opcode::Close::new(types::Fd(i)).build()
        }
        .flags(squeue::Flags::SKIP_SUCCESS)
        .user_data(ud(CLOSE, 0, 0))
    };
    let mut unnamed: u64 = 0;
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
            match op {
                ACCEPT => {
                    if polled {
                        loop {
                            let fd = accept4(lfd);
                            if fd < 0 {
                                break;
                            }
                            push(&sub, &mut sq, &recv(fd));
                        }
                    } else if r >= 0 {
                        if ask && !address(r) {
                            unnamed += 1;
                            if unnamed.is_power_of_two() {
                                println!(
                                    "{unnamed} accepted connections had no peer address any more"
                                );
                            }
                        }
                        push(&sub, &mut sq, &recv(r));
                    }
                    if !cqueue::more(e.flags()) {
                        push(&sub, &mut sq, &accept());
                    }
                }
                RECV => {
                    if let Some(b) = cqueue::buffer_select(e.flags()) {
                        br.recycle(b);
                        br.commit();
                    }
                    if !cqueue::more(e.flags()) {
                        if sync_close {
                            unsafe { libc::close(i as i32) };
                        } else {
                            push(&sub, &mut sq, &close(i as i32));
                        }
                    }
                }
                _ => {}
            }
        }
    }
}
