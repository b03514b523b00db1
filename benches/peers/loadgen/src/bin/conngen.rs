//! Connections per second: connects, and resets (linger 0), or asks once and ends in order. One JSON line.
//!
//! Usage: `conngen --port N [--secs S=1] [--warm S=0.1] [--window W=32] [--ask BYTES=0]`
//!
//! Keeps up to W connections open: opens W, then resets them oldest first while opening others. With `--ask`, W connections
//! at a time: opens them, sends each so many bytes and reads them back, says FIN, and reads to the server's. Sources rotate
//! through 127.0.0.2 .. 127.0.0.17, so that the ephemeral ports do not run out.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

fn cpu_self() -> f64 {
    unsafe {
        let mut r: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut r);
        let f = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
        f(r.ru_utime) + f(r.ru_stime)
    }
}

fn address(last: u8, port: u16) -> libc::sockaddr_in {
    let mut a: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    a.sin_family = libc::AF_INET as _;
    a.sin_port = port.to_be();
    a.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, last]);
    a
}

/// A connected socket, which resets when it is closed if so wanted, or the errno.
fn connect(from: u8, port: u16, resets: bool) -> Result<i32, i32> {
    let errno = || std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let one: i32 = 1;
        libc::setsockopt(
            fd,
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&one as *const i32).cast(),
            4,
        );
        let linger = libc::linger { l_onoff: resets as i32, l_linger: 0 };
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&linger as *const libc::linger).cast(),
            8,
        );
        let (src, dst) = (address(from, 0), address(1, port));
        if libc::bind(fd, (&src as *const libc::sockaddr_in).cast(), 16) != 0
            || libc::connect(fd, (&dst as *const libc::sockaddr_in).cast(), 16) != 0
        {
            let e = errno();
            libc::close(fd);
            return Err(e);
        }
        Ok(fd)
    }
}

/// Asks each once, then ends it in order; how many went wrong.
fn ask(open: &mut VecDeque<i32>, bytes: &mut [u8]) -> u64 {
    let len = bytes.len();
    let read = |fd: i32, bytes: &mut [u8]| unsafe {
        libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_WAITALL)
    };
    for fd in open.iter() {
        unsafe { libc::send(*fd, bytes.as_ptr().cast(), len, libc::MSG_NOSIGNAL) };
    }
    let mut errors = 0;
    for fd in open.iter() {
        errors += (read(*fd, bytes) != len as isize) as u64;
        unsafe { libc::shutdown(*fd, libc::SHUT_WR) };
    }
    for fd in open.drain(..) {
        errors += (read(fd, bytes) != 0) as u64;
        unsafe { libc::close(fd) };
    }
    errors
}

fn main() {
    let mut port = 7000u16;
    let (mut secs, mut warm, mut window, mut ask_len) = (1.0, 0.1, 32usize, 0);
    let mut args = std::env::args().skip(1);
    while let Some(k) = args.next() {
        let v = args.next().expect("each option has a value");
        match k.as_str() {
            "--port" => port = v.parse().unwrap(),
            "--secs" => secs = v.parse().unwrap(),
            "--warm" => warm = v.parse().unwrap(),
            "--window" => window = v.parse().unwrap(),
            "--ask" => ask_len = v.parse().unwrap(),
            _ => panic!("unknown option {k}"),
        }
    }
    let mut bytes = vec![7; ask_len];
    let mut open: VecDeque<i32> = VecDeque::with_capacity(window);
    let (mut total, mut errors) = (0u64, 0u64);
    let start = Instant::now();
    let mut measured: Option<(Instant, u64, f64)> = None;
    let (warm, end) = (Duration::from_secs_f64(warm), Duration::from_secs_f64(warm + secs));
    loop {
        let t = start.elapsed();
        if measured.is_none() && t >= warm {
            measured = Some((Instant::now(), total, cpu_self()));
        }
        if t >= end {
            break;
        }
        if open.len() >= window && ask_len > 0 {
            errors += ask(&mut open, &mut bytes);
        } else if open.len() >= window {
            unsafe { libc::close(open.pop_front().unwrap()) };
        }
        match connect(2 + (total % 16) as u8, port, ask_len == 0) {
            Ok(fd) => open.push_back(fd),
            Err(_) => errors += 1,
        }
        total += 1;
    }
    let (t0, n0, c0) = measured.unwrap();
    let dt = t0.elapsed().as_secs_f64();
    println!(
        "{{\"rps\":{:.0},\"gen_cpu\":{:.3},\"n_total\":{total},\"errors\":{errors},\"run\":{:.4}}}",
        (total - n0) as f64 / dt,
        (cpu_self() - c0) / dt,
        start.elapsed().as_secs_f64()
    );
}
