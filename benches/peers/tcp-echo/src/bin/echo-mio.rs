//! mio (edge-triggered epoll) TCP echo. A short read is taken as "drained", as tokio does on epoll.
//!
//! Usage: `echo-mio PORT`
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
peerkit::counting!();

struct Conn {
    s: TcpStream,
    pend: Vec<u8>,
    off: usize,
}

fn main() {
    peerkit::init();
    peerkit::backend!("epoll");
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let mut l =
        TcpListener::bind(format!("127.0.0.1:{}", peerkit::port()).parse().unwrap()).unwrap();
    poll.registry().register(&mut l, Token(usize::MAX >> 1), Interest::READABLE).unwrap();
    let mut conns: Vec<Option<Conn>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buf = vec![0u8; 64 * 1024];
    loop {
        match poll.poll(&mut events, None) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => panic!("{e}"),
        }
        for ev in events.iter() {
            let t = ev.token().0;
            if t == usize::MAX >> 1 {
                while let Ok((mut s, _)) = l.accept() {
                    let _ = s.set_nodelay(true);
                    let i = free.pop().unwrap_or_else(|| {
                        conns.push(None);
                        conns.len() - 1
                    });
                    poll.registry()
                        .register(&mut s, Token(i), Interest::READABLE | Interest::WRITABLE)
                        .unwrap();
                    conns[i] = Some(Conn { s, pend: Vec::new(), off: 0 });
                }
                continue;
            }
            let ok = match conns[t].as_mut() {
                Some(c) => drive(c, &mut buf),
                None => continue,
            };
            if !ok {
                let mut c = conns[t].take().unwrap();
                let _ = poll.registry().deregister(&mut c.s);
                free.push(t);
            }
        }
    }
}

fn drive(c: &mut Conn, buf: &mut [u8]) -> bool {
    loop {
        while c.off < c.pend.len() {
            match c.s.write(&c.pend[c.off..]) {
                Ok(n) => c.off += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        c.pend.clear();
        c.off = 0;
        let n = match c.s.read(buf) {
            Ok(0) => return false,
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        };
        let mut w = 0;
        while w < n {
            match c.s.write(&buf[w..n]) {
                Ok(k) => w += k,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    c.pend.extend_from_slice(&buf[w..n]);
                    return true;
                }
                Err(_) => return false,
            }
        }
        if n < buf.len() {
            return true;
        }
    }
}
