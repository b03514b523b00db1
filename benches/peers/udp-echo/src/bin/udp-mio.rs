//! mio UDP echo.
//!
//! Usage: `udp-mio PORT`
use mio::{Events, Interest, Poll, Token};
peerkit::counting!();
fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    let s = udp_echo::socket(peerkit::port());
    s.set_nonblocking(true)?;
    let mut s = mio::net::UdpSocket::from_std(s);
    let mut poll = Poll::new()?;
    let mut ev = Events::with_capacity(16);
    poll.registry().register(&mut s, Token(0), Interest::READABLE)?;
    let mut b = vec![0u8; 65536];
    loop {
        if poll.poll(&mut ev, None).is_err() {
            continue;
        }
        while let Ok((n, a)) = s.recv_from(&mut b) {
            let _ = s.send_to(&b[..n], a);
        }
    }
}
