//! A listener that answers no SYN.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Its backlog is full; what fills it comes along.
pub(crate) fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // SAFETY: the descriptor is a listening socket; listen(2) again sets its backlog.
    let answer = unsafe { libc::listen(listener.as_raw_fd(), 1) };
    assert_eq!(answer, 0);
    let limit = Duration::from_millis(100);
    let fill = (0..8).map_while(|_| TcpStream::connect_timeout(&addr, limit).ok());
    let fill: Vec<_> = fill.collect();
    assert!(fill.len() < 8, "the backlog never filled");
    (listener, fill, addr)
}
