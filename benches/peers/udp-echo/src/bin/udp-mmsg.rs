//! Blocking recvmmsg(MSG_WAITFORONE)/sendmmsg UDP echo.
//!
//! Usage: `udp-mmsg PORT [BATCH=64] [FLAGS]`
//!
//! FLAGS: `n` recvmmsg(MSG_DONTWAIT) and poll(2) when it finds nothing, instead of a blocking recvmmsg
use std::os::fd::AsRawFd;
use udp_echo::Batch;
peerkit::counting!();

fn main() {
    peerkit::init();
    let s = udp_echo::socket(peerkit::port());
    peerkit::backend!("blocking");
    let mut b = Batch::new(peerkit::arg(2, "64").parse().unwrap());
    let fd = s.as_raw_fd();
    if peerkit::arg(3, "").contains('n') {
        let mut p = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        loop {
            if b.echo(fd) == 0 {
                unsafe { libc::poll(&mut p, 1, -1) };
            }
        }
    }
    loop {
        b.echo_with(fd, libc::MSG_WAITFORONE);
    }
}
