//! UDP echo by readiness from the ring and recvmmsg/sendmmsg batches.
//!
//! Usage: `udp-poll PORT [BATCH=64] [FLAGS]`
//!
//! FLAGS, any of:
//! * `o` one-shot poll, armed only when the socket is empty (default: one multishot poll, always armed)
//! * `e` receive until EAGAIN (default: a batch that is not full ends the round)
//! * `p` receive until EAGAIN, then look for new readiness without sleeping for a bounded number of rounds
use io_uring::{opcode, types};
use std::os::fd::AsRawFd;
use udp_echo::Batch;
use uringkit::push;
peerkit::counting!();

/// Empty receives before sleeping, with `p`.
const SPIN_ROUNDS_MAX: u32 = 20;

fn main() {
    peerkit::init();
    let s = udp_echo::socket(peerkit::port());
    peerkit::backend!("io_uring");
    let mut batch = Batch::new(peerkit::arg(2, "64").parse().unwrap());
    let fl = peerkit::arg(3, "");
    let (oneshot, spin) = (fl.contains('o'), fl.contains('p'));
    let drain = spin || fl.contains('e');
    let mut ring = uringkit::ring(64, 256, true).unwrap();
    ring.submitter().register_files(&[s.as_raw_fd()]).unwrap();
    let _ = ring.submitter().register_ring_fd();
    let (sub, mut sq, mut cq) = ring.split();
    let poll = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).multi(!oneshot).build();
    let mut armed = false;
    let mut empty = 0;
    loop {
        loop {
            let n = batch.echo(s.as_raw_fd());
            if n > 0 {
                empty = 0;
            }
            if spin && n == 0 && empty < SPIN_ROUNDS_MAX {
                empty += 1;
                continue;
            }
            if n == 0 || (!drain && n < batch.len()) {
                break;
            }
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
