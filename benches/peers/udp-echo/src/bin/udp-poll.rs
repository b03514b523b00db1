//! UDP echo by readiness from the ring and recvmmsg/sendmmsg batches.
//!
//! Usage: `udp-poll PORT [BATCH=64] [FLAGS]`
//!
//! One batch a turn. While batches are not empty nothing is armed; an empty one arms a one-shot poll and the ring sleeps:
//! a poll that stays armed is woken by every datagram and costs 3 %. FLAGS: `m` a multishot poll that stays armed.
use io_uring::{opcode, types};
use std::os::fd::AsRawFd;
use udp_echo::Batch;
use uringkit::push;
peerkit::counting!();

fn main() {
    peerkit::init();
    let s = udp_echo::socket(peerkit::port());
    peerkit::backend!("io_uring");
    let mut batch = Batch::new(peerkit::arg(2, "64").parse().unwrap());
    let fl = peerkit::arg(3, "");
    let multi = fl.contains('m');
    let mut ring = uringkit::ring(64, 256, true).unwrap();
    ring.submitter().register_files(&[s.as_raw_fd()]).unwrap();
    let _ = ring.submitter().register_ring_fd();
    let (sub, mut sq, mut cq) = ring.split();
    let poll = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).multi(multi).build();
    let mut armed = false;
    loop {
        if batch.echo(s.as_raw_fd()) > 0 {
            continue;
        }
        if !armed {
            push(&sub, &mut sq, &poll);
            armed = true;
        }
        sq.sync();
        match sub.submit_and_wait(1) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(e) => panic!("{e}"),
        }
        sq.sync();
        cq.sync();
        for e in &mut cq {
            armed = io_uring::cqueue::more(e.flags());
        }
    }
}
