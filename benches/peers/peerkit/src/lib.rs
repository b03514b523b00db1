//! What every Rust peer shares.
//!
//! * `peerkit::counting!()` installs a counting global allocator. Its counters are plain loads and stores, so they
//!   are exact for single-threaded servers and approximate otherwise.
//! * `peerkit::init()` makes SIGUSR1 write "allocs bytes" to the file `$PEER_STATS` (to stderr when unset).
//! * `arg`, `port` and `cert` read the command line and `$PEER_CERT_DIR`.
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The system allocator, counting calls and bytes.
pub struct Counting;
pub static ALLOCS: AtomicU64 = AtomicU64::new(0);
pub static BYTES: AtomicU64 = AtomicU64::new(0);

#[inline(always)]
fn bump(n: usize) {
    ALLOCS.store(ALLOCS.load(Relaxed).wrapping_add(1), Relaxed);
    BYTES.store(BYTES.load(Relaxed).wrapping_add(n as u64), Relaxed);
}

unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        bump(l.size());
        System.alloc(l)
    }
    #[inline]
    unsafe fn alloc_zeroed(&self, l: Layout) -> *mut u8 {
        bump(l.size());
        System.alloc_zeroed(l)
    }
    #[inline]
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        System.dealloc(p, l)
    }
    #[inline]
    unsafe fn realloc(&self, p: *mut u8, l: Layout, n: usize) -> *mut u8 {
        bump(n);
        System.realloc(p, l, n)
    }
}

/// NUL-terminated `$PEER_STATS`, for the signal handler.
static mut PATH: [u8; libc::PATH_MAX as usize] = [0; libc::PATH_MAX as usize];

extern "C" fn on_usr1(_: libc::c_int) {
    // async-signal-safe: format by hand, write(2)
    let mut b = [0u8; 64];
    let mut i = 0;
    for v in [ALLOCS.load(Relaxed), BYTES.load(Relaxed)] {
        let mut d = [0u8; 20];
        let mut n = 0;
        let mut x = v;
        loop {
            d[n] = b'0' + (x % 10) as u8;
            n += 1;
            x /= 10;
            if x == 0 {
                break;
            }
        }
        while n > 0 {
            n -= 1;
            b[i] = d[n];
            i += 1;
        }
        b[i] = b' ';
        i += 1;
    }
    b[i - 1] = b'\n';
    unsafe {
        let p = core::ptr::addr_of!(PATH) as *const libc::c_char;
        if *p == 0 {
            libc::write(2, b.as_ptr().cast(), i);
        } else {
            let fd = libc::open(p, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC, 0o644);
            libc::write(fd, b.as_ptr().cast(), i);
            libc::close(fd);
        }
    }
}

/// Installs the SIGUSR1 allocation-count dump, raises RLIMIT_NOFILE to its hard limit and ignores SIGPIPE.
pub fn init() {
    if let Ok(p) = std::env::var("PEER_STATS") {
        let b = p.as_bytes();
        assert!(b.len() < libc::PATH_MAX as usize, "PEER_STATS is too long");
        unsafe {
            std::ptr::copy_nonoverlapping(
                b.as_ptr(),
                core::ptr::addr_of_mut!(PATH) as *mut u8,
                b.len(),
            )
        };
    }
    unsafe {
        let mut sa: libc::sigaction = std::mem::zeroed();
        sa.sa_sigaction = on_usr1 as *const () as usize;
        sa.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGUSR1, &sa, std::ptr::null_mut());
        let mut rl: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut rl);
        rl.rlim_cur = rl.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &rl);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}

/// Says on stdout which program this is and what it waits with (`io_uring`, `epoll` or `blocking`), for the driver to
/// check against the program that runs and the descriptors that it holds. Comes before anything else is printed.
#[macro_export]
macro_rules! backend {
    ($kind:literal) => {
        println!("backend {} {}", env!("CARGO_BIN_NAME"), $kind)
    };
}

/// The n-th positional argument, or `default`.
pub fn arg(n: usize, default: &str) -> String {
    std::env::args().nth(n).unwrap_or_else(|| default.to_string())
}

/// The first argument: the port to listen on (default 7000).
pub fn port() -> u16 {
    arg(1, "7000").parse().expect("port")
}

/// Path of `cert.pem` or `key.pem` in `$PEER_CERT_DIR` (default `run/cert` under the current directory).
pub fn cert(file: &str) -> std::path::PathBuf {
    let dir = std::env::var_os("PEER_CERT_DIR").unwrap_or_else(|| "run/cert".into());
    std::path::Path::new(&dir).join(file)
}

/// Installs [`Counting`] as the global allocator.
#[macro_export]
macro_rules! counting {
    () => {
        #[global_allocator]
        static GLOBAL: $crate::Counting = $crate::Counting;
    };
}
