//! Host names, by the system's resolver on a thread of its own.
//!
//! getaddrinfo(3) blocks, so each name has a short-lived thread; at most [`RESOLVERS_MAX`] at a
//! time in the process. Not role: caching, racing.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::{IoError, Result};

/// Names being resolved at a time.
const RESOLVERS_MAX: usize = 64;
/// How long an answer waits that nobody had room for.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);

static RESOLVERS: AtomicUsize = AtomicUsize::new(0);

/// Gives the place back, whatever becomes of the thread.
struct Place;

impl Drop for Place {
    fn drop(&mut self) {
        RESOLVERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The addresses of a host; `None` when there is no such name.
pub(crate) type Found = Option<Vec<SocketAddr>>;

/// Who is told them, on the resolver's thread. It gives them back when it has no room for the
/// moment: then they are offered again.
pub(crate) type Done = Box<dyn FnMut(Found) -> std::result::Result<(), Found> + Send>;

/// Resolves `host`. What is an address already is answered at once, without a thread.
pub(crate) fn start(host: String, port: u16, done: Done) -> Result<Found> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(Some(vec![SocketAddr::new(ip, port)])),
        Err(_) => spawn(host, port, done).map(|()| None),
    }
}

fn spawn(host: String, port: u16, mut done: Done) -> Result<()> {
    let before = RESOLVERS.fetch_add(1, Ordering::Relaxed);
    let place = Place;
    if before >= RESOLVERS_MAX {
        return Err(IoError::QueueFull { queue: "host name resolver", capacity: RESOLVERS_MAX });
    }
    let started =
        std::thread::Builder::new().name("zero-io-resolver".to_owned()).spawn(move || {
            let _place = place;
            let mut found = (host.as_str(), port).to_socket_addrs().ok().map(Iterator::collect);
            while let Err(back) = done(found) {
                found = back;
                std::thread::sleep(PAUSE);
            }
        });
    match started {
        Ok(_) => Ok(()),
        Err(error) => Err(IoError::os("clone", error.raw_os_error().unwrap_or(libc::EAGAIN))),
    }
}
