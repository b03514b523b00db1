//! Unix stream sockets, unix(7).
//!
//! Role: listen and connect by path or abstract name. Not role: removing the file when the listener
//! closes; the next listener removes a file that nobody listens on.
//!
//! *Invariant*: a file is removed only if it is a socket that refuses connections.

use std::path::Path;

use super::addr::UnixAddr;
use super::errno;
use super::socket::{NewSocket, POSITIVE_INT, int};
use crate::config::UdsListenConfig;
use crate::error::{IoError, Result};

const MODE_MAX: u32 = 0o7777;

/// A listening socket.
pub(crate) fn listen(config: &UdsListenConfig) -> Result<i32> {
    let backlog = int("UdsListenConfig::backlog", u64::from(config.backlog), 1, POSITIVE_INT)?;
    if let Some(mode) = config.mode.filter(|mode| *mode > MODE_MAX) {
        return Err(IoError::InvalidConfig {
            field: "UdsListenConfig::mode",
            value: u64::from(mode),
            range: "permission bits, 0 to 0o7777",
        });
    }
    let addr = UnixAddr::new(&config.path)?;
    let socket = NewSocket::new(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let mut answer = bind(&socket, &addr);
    if answer == Err(libc::EADDRINUSE) && config.unlink_stale && is_stale(&addr)? {
        // SAFETY: the path ends with a zero and outlives the call.
        unsafe { libc::unlink(addr.path_ptr()) };
        answer = bind(&socket, &addr);
    }
    answer.map_err(|code| IoError::os("bind", code))?;
    // Nobody can connect before listen(2), so the mode is never wider than asked for.
    let result = set_mode(&addr, config.mode).and_then(|()| socket.listen(backlog, None));
    if let Err(error) = result {
        if !addr.is_abstract() {
            // SAFETY: the path ends with a zero and outlives the call; this call made the file.
            unsafe { libc::unlink(addr.path_ptr()) };
        }
        return Err(error);
    }
    Ok(socket.release())
}

fn bind(socket: &NewSocket, addr: &UnixAddr) -> Result<(), i32> {
    // SAFETY: pointer and length describe a whole address, which outlives the call.
    match unsafe { libc::bind(socket.fd(), addr.as_ptr(), addr.len()) } {
        0 => Ok(()),
        _ => Err(errno()),
    }
}

fn set_mode(addr: &UnixAddr, mode: Option<u32>) -> Result<()> {
    let Some(mode) = mode.filter(|_| !addr.is_abstract()) else {
        return Ok(());
    };
    // SAFETY: the path ends with a zero and outlives the call.
    super::check("chmod", unsafe { libc::chmod(addr.path_ptr(), mode) }).map(drop)
}

/// Whether the path is a socket that refuses connections: its listener is gone.
fn is_stale(addr: &UnixAddr) -> Result<bool> {
    if addr.is_abstract() || !is_socket_file(addr) {
        return Ok(false);
    }
    let probe = NewSocket::new(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    Ok(try_connect(&probe, addr) == Err(libc::ECONNREFUSED))
}

fn is_socket_file(addr: &UnixAddr) -> bool {
    // SAFETY: all zeroes is a valid value of this structure of numbers.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero; both outlive the call.
    let answer = unsafe { libc::lstat(addr.path_ptr(), &raw mut stat) };
    answer == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFSOCK
}

fn try_connect(socket: &NewSocket, addr: &UnixAddr) -> Result<(), i32> {
    // SAFETY: pointer and length describe a whole address, which outlives the call.
    match unsafe { libc::connect(socket.fd(), addr.as_ptr(), addr.len()) } {
        0 => Ok(()),
        _ => Err(errno()),
    }
}

/// A connected socket; `None` when the listener's backlog is full.
pub(crate) fn connect(path: &Path) -> Result<Option<i32>> {
    let addr = UnixAddr::new(path)?;
    let socket = NewSocket::new(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    match try_connect(&socket, &addr) {
        Ok(()) => Ok(Some(socket.release())),
        Err(libc::EAGAIN) => Ok(None),
        Err(code) => Err(IoError::os("connect", code)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::super::socket;
    use super::*;
    use crate::ids::Protocol;
    use crate::sys::sockopt::Adopted;

    /// A path that no other test uses, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("zio-{}-{name}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_stale_path_is_taken_over_and_a_living_one_is_not() {
        let scratch = Scratch::new("stale");
        let config = UdsListenConfig::new(&scratch.0);
        let first = listen(&config).unwrap();
        assert_eq!(listen(&config), Err(IoError::os("bind", libc::EADDRINUSE)));
        socket::close(first);
        assert!(scratch.0.exists());
        let polite = config.clone().with(|c| c.unlink_stale = false);
        assert_eq!(listen(&polite), Err(IoError::os("bind", libc::EADDRINUSE)));
        let second = listen(&config).unwrap();
        let client = connect(&scratch.0).unwrap().unwrap();
        for fd in [client, second] {
            socket::close(fd);
        }
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let scratch = Scratch::new("file");
        std::fs::write(&scratch.0, b"precious").unwrap();
        let error = listen(&UdsListenConfig::new(&scratch.0)).unwrap_err();
        assert_eq!(error, IoError::os("bind", libc::EADDRINUSE));
        assert_eq!(std::fs::read(&scratch.0).unwrap(), b"precious");
    }

    #[test]
    fn the_mode_is_set_and_bad_ones_are_refused() {
        let scratch = Scratch::new("mode");
        let config = UdsListenConfig::new(&scratch.0).with(|c| c.mode = Some(0o640));
        let fd = listen(&config).unwrap();
        let mode = std::fs::metadata(&scratch.0).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        socket::close(fd);
        let bad = config.with(|c| c.mode = Some(0o10_000));
        assert!(matches!(listen(&bad), Err(IoError::InvalidConfig { .. })));
    }

    #[test]
    fn abstract_names_connect_and_tell_who_is_there() {
        let name = format!("@zio-{}-abstract", std::process::id());
        let listener = listen(&UdsListenConfig::new(&name).with(|c| c.mode = Some(0o600))).unwrap();
        assert_eq!(socket::adopt(listener).unwrap(), Adopted::Listener(Protocol::Uds));
        let client = connect(Path::new(&name)).unwrap().unwrap();
        let (server, peer) = socket::accept(listener).unwrap().unwrap();
        assert!(peer.is_unix() && socket::local_addr(server).unwrap().is_unix());
        assert_eq!(socket::adopt(server).unwrap(), Adopted::Stream(Protocol::Uds));
        let cred = socket::peer_cred(server).unwrap();
        assert_eq!(cred.pid, std::process::id() as i32);
        // SAFETY: the calls have no arguments.
        assert_eq!((cred.uid, cred.gid), unsafe { (libc::geteuid(), libc::getegid()) });
        for fd in [client, server, listener] {
            socket::close(fd);
        }
    }

    #[test]
    fn a_full_backlog_is_none_and_nobody_is_an_error() {
        let name = format!("@zio-{}-full", std::process::id());
        let listener = listen(&UdsListenConfig::new(&name).with(|c| c.backlog = 1)).unwrap();
        let mut clients = Vec::new();
        while let Some(fd) = connect(Path::new(&name)).unwrap() {
            clients.push(fd);
            assert!(clients.len() < 16);
        }
        for fd in clients.into_iter().chain([listener]) {
            socket::close(fd);
        }
        let error = connect(Path::new(&name)).unwrap_err();
        assert_eq!(error, IoError::os("connect", libc::ECONNREFUSED));
    }
}
