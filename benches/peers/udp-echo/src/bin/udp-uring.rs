//! Raw io_uring UDP echo: multishot recvmsg into a provided-buffer ring, sendto from the same buffer.
//!
//! Usage: `udp-uring PORT [NBUFS=2048] [BUFSZ=2048] [FLAGS]`
//!
//! FLAGS, one of:
//! * `m` the replies of one CQ batch go out in one sendmmsg(2)
//! * `s` replies are sent with MSG_DONTWAIT and without completions: they end while they are submitted, so their buffers
//!   are free again when the submit returns
use io_uring::{cqueue, opcode, types};
use std::os::fd::AsRawFd;
use udp_echo::Batch;
use uringkit::{push, ud, unud, BufRing};
peerkit::counting!();

/// Replies that one sendmmsg takes.
const N: usize = 64;

fn main() {
    peerkit::init();
    peerkit::backend!("io_uring");
    let s = udp_echo::socket(peerkit::port());
    let nb: u16 = peerkit::arg(2, "2048").parse().unwrap();
    let bs: u32 = peerkit::arg(3, "2048").parse().unwrap();
    let mut ring = uringkit::ring(4096, 16384, true).unwrap();
    let mut br = BufRing::new(&ring, nb, bs, 0).unwrap();
    ring.submitter().register_files(&[s.as_raw_fd()]).unwrap();
    let _ = ring.submitter().register_ring_fd();
    let mut hdr: libc::msghdr = unsafe { std::mem::zeroed() };
    hdr.msg_namelen = 16;
    let fl = peerkit::arg(4, "");
    let (mm, silent) = (fl.contains('m'), fl.contains('s'));
    let raw = s.as_raw_fd();
    let mut batch = Batch::new(N);
    let mut bids: Vec<u16> = Vec::new();
    let (sub, mut sq, mut cq) = ring.split();
    let fd = types::Fixed(0);
    let recv =
        |h: &libc::msghdr| opcode::RecvMsgMulti::new(fd, h, 0).build().user_data(ud(1, 0, 0));
    push(&sub, &mut sq, &recv(&hdr));
    loop {
        sq.sync();
        match sub.submit_and_wait(1) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(e) => panic!("{e}"),
        }
        sq.sync();
        cq.sync();
        let mut starved = false;
        for e in &mut cq {
            let (op, bid, _) = unud(e.user_data());
            if op == 2 {
                if !silent {
                    br.recycle(bid);
                }
                continue;
            }
            let r = e.result();
            if r > 0 {
                let bid = cqueue::buffer_select(e.flags()).unwrap();
                let p = br.ptr(bid);
                let b = unsafe { std::slice::from_raw_parts(p, r as usize) };
                let m = types::RecvMsgOut::parse(b, &hdr).unwrap();
                let d = m.payload_data();
                if mm {
                    let i = bids.len();
                    batch.iov[i] = libc::iovec { iov_base: d.as_ptr() as *mut _, iov_len: d.len() };
                    batch.v[i].msg_hdr.msg_name = m.name_data().as_ptr() as *mut _;
                    bids.push(bid);
                    if bids.len() == N {
                        batch.send(raw, N);
                        bids.drain(..).for_each(|b| br.recycle(b));
                    }
                    if !cqueue::more(e.flags()) {
                        starved = true;
                    }
                    continue;
                }
                let e2 = opcode::Send::new(fd, d.as_ptr(), d.len() as u32)
                    .dest_addr(m.name_data().as_ptr().cast())
                    .dest_addr_len(16)
                    .flags(if silent { libc::MSG_DONTWAIT } else { 0 })
                    .build()
                    .user_data(ud(2, bid, 0));
                if silent {
                    bids.push(bid);
                    push(&sub, &mut sq, &e2.flags(io_uring::squeue::Flags::SKIP_SUCCESS));
                    if !cqueue::more(e.flags()) {
                        starved = true;
                    }
                    continue;
                }
                push(&sub, &mut sq, &e2);
            }
            if !cqueue::more(e.flags()) {
                starved = true;
            }
        }
        if silent && !bids.is_empty() {
            sq.sync();
            sub.submit().unwrap();
            sq.sync();
            bids.drain(..).for_each(|b| br.recycle(b));
        } else if !bids.is_empty() {
            batch.send(raw, bids.len());
            bids.drain(..).for_each(|b| br.recycle(b));
        }
        br.commit();
        if starved {
            push(&sub, &mut sq, &recv(&hdr));
        }
    }
}
