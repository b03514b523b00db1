//! A network namespace with two interfaces, and a mount namespace with its own /etc/hosts.

use std::ffi::CString;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// This end has the addresses below.
const INTERFACE: &str = "near";
/// Addresses of this machine.
pub(crate) const HERE_V4: &str = "10.77.0.1";
pub(crate) const HERE_V6: &str = "fd77::1";
/// Addresses beyond the wire: what is sent to them is swallowed, and no answer comes.
pub(crate) const VOID_V4: &str = "10.77.0.66";
pub(crate) const VOID_V6: &str = "fd77::66";

/// How long an interface may take to be in use.
const LINK_PATIENCE: Duration = Duration::from_secs(20);

/// Descriptors are counted, so no two tests at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A namespace, for as long as the thread that made it and those that it starts.
pub(crate) struct Namespace {
    _alone: MutexGuard<'static, ()>,
}

impl Namespace {
    /// Moves the calling thread into a new network, in which the hosts have those addresses, in
    /// the order given.
    ///
    /// # Panics
    /// Without root, or without the `ip` of iproute2.
    pub(crate) fn enter(hosts: &[(&str, &[&str])]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the call takes no pointers.
        let answer = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
        assert!(
            answer == 0,
            "this test makes network and mount namespaces (unshare: {}); run it as root, in a \
             container with CAP_SYS_ADMIN and CAP_NET_ADMIN",
            std::io::Error::last_os_error()
        );
        // What is mounted here must not be seen outside.
        mount(None, "/", libc::MS_REC | libc::MS_PRIVATE);
        make_interfaces();
        let mut text = String::from("127.0.0.1 localhost\n");
        for (host, addrs) in hosts {
            addrs.iter().for_each(|addr| text.push_str(&format!("{addr} {host}\n")));
        }
        replace("/etc/hosts", &text);
        replace("/etc/nsswitch.conf", "hosts: files\n");
        // All lines of a name count.
        replace("/etc/host.conf", "multi on\n");
        Self { _alone: alone }
    }

    /// The number of the interface.
    #[expect(clippy::unused_self, reason = "there is an interface while there is a namespace")]
    pub(crate) fn interface(&self) -> u32 {
        let name = CString::new(INTERFACE).expect("a name");
        // SAFETY: the name ends with a zero.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        assert!(index > 0, "{INTERFACE} exists");
        index
    }
}

/// Two interfaces with a wire between them. Neither asks who has an address (no ARP, no neighbour
/// discovery), so that what is sent to nobody gets lost instead of being refused.
fn make_interfaces() {
    ip("link set lo up");
    ip(&format!("link add {INTERFACE} arp off type veth peer name far arp off"));
    ip(&format!("address add {HERE_V4}/24 dev {INTERFACE}"));
    ip(&format!("-6 address add {HERE_V6}/64 dev {INTERFACE} nodad"));
    ip("link set far up");
    ip(&format!("link set {INTERFACE} up"));
    wait_for_link();
}

/// An interface that is up is not in use yet: a worker of the kernel notices the carrier, and only
/// then IPv6 has its routes there. Until then sending fails, and a resolver prefers IPv4.
fn wait_for_link() {
    let start = Instant::now();
    let routes = format!("-6 route show table local dev {INTERFACE}");
    let is_ready = |routes: &str| routes.contains(HERE_V6) && routes.contains("ff00::/8");
    while !is_ready(&ip(&routes)) {
        assert!(start.elapsed() < LINK_PATIENCE, "{INTERFACE} has no carrier");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What it prints.
pub(crate) fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split(' ')).output();
    let output = output.expect("`ip` runs; it is in Debian's package iproute2");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {line}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Puts a file with that text in the place of another, in this mount namespace. A file that the
/// machine does not have is not needed.
fn replace(path: &str, text: &str) {
    if !Path::new(path).exists() {
        return;
    }
    let own = std::env::temp_dir().join(format!("zero-io-test-{}", std::process::id()));
    std::fs::write(&own, text).expect("a temporary file");
    mount(own.to_str(), path, libc::MS_BIND);
    std::fs::remove_file(&own).expect("the temporary file is there");
}

fn mount(from: Option<&str>, to: &str, flags: libc::c_ulong) {
    let from = CString::new(from.unwrap_or("none")).expect("a path");
    let at = CString::new(to).expect("a path");
    let none = std::ptr::null();
    // SAFETY: the names end with a zero and outlive the call.
    let answer = unsafe { libc::mount(from.as_ptr(), at.as_ptr(), none, flags, none.cast()) };
    assert!(answer == 0, "mount at {to}: {}", std::io::Error::last_os_error());
}

pub(crate) fn ip_addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Sockets that this process has open.
pub(crate) fn socket_count() -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").expect("/proc");
    let links = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// How many times slower than a usual machine this one is: a guest with translated code says so.
pub(crate) fn slower() -> u32 {
    std::env::var("ZERO_IO_SLOWER").map_or(1, |times| times.parse().expect("a number"))
}
