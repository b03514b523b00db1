//! Load of short connections: `o.conns` of them at a time, each replaced as soon as it is over.
//!
//! A connection is always ended by the client, with a reset (SO_LINGER 0): nobody waits in TIME_WAIT. Sources rotate
//! through 127.0.0.2 .. 127.0.0.17, so that the ephemeral ports do not run out.
use crate::{counter, cpu_self, Opt};
use hdrhistogram::Histogram;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// One short connection.
pub trait Unit {
    fn socket(&self) -> &TcpStream;
    /// Takes what came in: how many requests were answered by it, and whether this was all.
    fn on_readable(&mut self) -> (u64, bool);
}

/// A connected socket that resets when it is dropped. The `n`-th.
pub fn connect(n: u64, to: SocketAddr) -> TcpStream {
    let check = |r: i32| assert!(r == 0, "connect: {}", std::io::Error::last_os_error());
    let address = |ip: [u8; 4], port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as _,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip) },
        sin_zero: [0; 8],
    };
    let SocketAddr::V4(v4) = to else { panic!("an IPv4 address") };
    // SAFETY: all pointers are to locals of the size that is named
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
        let socket = TcpStream::from_raw_fd(fd);
        let one: i32 = 1;
        let set = |level, name, value: *const libc::c_void, len| {
            check(libc::setsockopt(fd, level, name, value, len))
        };
        set(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, (&one as *const i32).cast(), 4);
        set(libc::IPPROTO_TCP, libc::TCP_NODELAY, (&one as *const i32).cast(), 4);
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        set(libc::SOL_SOCKET, libc::SO_LINGER, (&linger as *const libc::linger).cast(), 8);
        let src = address([127, 0, 0, 2 + (n % 16) as u8], 0);
        let dst = address(v4.ip().octets(), v4.port());
        check(libc::bind(fd, (&src as *const libc::sockaddr_in).cast(), 16));
        check(libc::connect(fd, (&dst as *const libc::sockaddr_in).cast(), 16));
        socket
    }
}

fn register(epoll: i32, unit: &impl Unit, slot: usize) {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: slot as u64 };
    // SAFETY: the event is a local; a closed socket leaves the set by itself
    let r = unsafe {
        libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, unit.socket().as_raw_fd(), &mut event)
    };
    assert!(r == 0, "epoll_ctl");
}

/// Runs them and prints the figures, `more` members of JSON included. `begin` gives the n-th, `on_over` sees each that is over.
pub fn run<U: Unit>(
    o: &Opt,
    mut begin: impl FnMut(u64) -> U,
    mut on_over: impl FnMut(&U),
    more: impl FnOnce(u64) -> String,
) {
    // SAFETY: no arguments to go wrong
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(epoll >= 0, "epoll_create1");
    let mut begun = 0;
    let mut units: Vec<(U, Instant)> = Vec::new();
    for slot in 0..o.conns {
        units.push((begin(begun), Instant::now()));
        register(epoll, &units[slot].0, slot);
        begun += 1;
    }
    let published = counter();
    let mut hist: Histogram<u64> = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    let (warm, end) = (Duration::from_secs_f64(o.warm), Duration::from_secs_f64(o.warm + o.secs));
    let mut n_total = 0u64;
    let mut measured = None;
    let start = Instant::now();
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    loop {
        let t = start.elapsed();
        if measured.is_none() && t >= warm {
            measured = Some((Instant::now(), n_total, cpu_self()));
            hist.reset();
        }
        if t >= end || (o.count > 0 && n_total >= o.count) {
            break;
        }
        // SAFETY: room for as many events as it says
        let n = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), events.len() as i32, 20) };
        for event in &events[..n.max(0) as usize] {
            let slot = event.u64 as usize;
            let (unit, began) = &mut units[slot];
            let (answered, is_over) = unit.on_readable();
            n_total += answered;
            if !is_over {
                continue;
            }
            hist.record(began.elapsed().as_nanos() as u64).ok();
            on_over(unit);
            let began = Instant::now();
            units[slot] = (begin(begun), began);
            register(epoll, &units[slot].0, slot);
            begun += 1;
        }
        published.store(n_total, Relaxed);
    }
    let more = more(n_total);
    let (t0, n0, c0) = measured.expect("measured");
    let dt = t0.elapsed().as_secs_f64();
    let q = |p: f64| hist.value_at_quantile(p) as f64 / 1e3;
    println!(
        "{{\"rps\":{:.0},\"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"max\":{:.1},\"gen_cpu\":{:.3},\"n_total\":{n_total},{more}\"run\":{:.4}}}",
        (n_total - n0) as f64 / dt,
        q(0.5), q(0.9), q(0.99), q(0.999),
        hist.max() as f64 / 1e3,
        (cpu_self() - c0) / dt,
        start.elapsed().as_secs_f64()
    );
}
