//! `--proto tls-hs`: TLS handshakes per second.
//!
//! One unit is: connect, handshake, one byte there and back, reset. The byte makes the server finish the handshake, its
//! tickets included, before the connection goes. Sources rotate through 127.0.0.2 .. 127.0.0.17, so that the ephemeral
//! ports do not run out.
use crate::{counter, cpu_self, tls, Opt};
use hdrhistogram::Histogram;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Shake {
    socket: TcpStream,
    tls: ClientConnection,
    is_asked: bool,
    begin: Instant,
}

fn connect(from: u8, to: SocketAddr) -> TcpStream {
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
        let (src, dst) = (address([127, 0, 0, from], 0), address(v4.ip().octets(), v4.port()));
        check(libc::bind(fd, (&src as *const libc::sockaddr_in).cast(), 16));
        check(libc::connect(fd, (&dst as *const libc::sockaddr_in).cast(), 16));
        socket.set_nonblocking(true).expect("nonblocking");
        socket
    }
}

impl Shake {
    fn new(n: u64, to: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let begin = Instant::now();
        let socket = connect(2 + (n % 16) as u8, to);
        let mut shake = Shake { socket, tls: tls::connection(config), is_asked: false, begin };
        shake.flush();
        shake
    }

    fn flush(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket).expect("send: the socket has room for a flight");
        }
    }

    /// What came in; whether the byte is back.
    fn is_done(&mut self) -> bool {
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => panic!("the server closed"),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
            Err(e) => panic!("recv: {e}"),
        }
        self.tls.process_new_packets().expect("a good handshake");
        if !self.tls.is_handshaking() && !self.is_asked {
            self.tls.writer().write_all(b"x").expect("room");
            self.is_asked = true;
        }
        self.flush();
        let mut back = [0; 1];
        self.is_asked && matches!(self.tls.reader().read(&mut back), Ok(1))
    }
}

fn register(epoll: i32, shake: &Shake, slot: usize) {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: slot as u64 };
    // SAFETY: the event is a local; a closed socket leaves the set by itself
    let r = unsafe {
        libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, shake.socket.as_raw_fd(), &mut event)
    };
    assert!(r == 0, "epoll_ctl");
}

pub fn run(o: &Opt) {
    let config = tls::config(o.resume);
    // SAFETY: no arguments to go wrong
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(epoll >= 0, "epoll_create1");
    let mut begun = 0;
    let mut shakes: Vec<Shake> = Vec::new();
    for slot in 0..o.conns {
        shakes.push(Shake::new(begun, o.addr, &config));
        register(epoll, &shakes[slot], slot);
        begun += 1;
    }
    let published = counter();
    let mut hist: Histogram<u64> = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    let (warm, end) = (Duration::from_secs_f64(o.warm), Duration::from_secs_f64(o.warm + o.secs));
    let (mut n_total, mut resumed) = (0u64, 0u64);
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
            if !shakes[slot].is_done() {
                continue;
            }
            hist.record(shakes[slot].begin.elapsed().as_nanos() as u64).ok();
            resumed += u64::from(shakes[slot].tls.handshake_kind() == Some(HandshakeKind::Resumed));
            n_total += 1;
            shakes[slot] = Shake::new(begun, o.addr, &config);
            register(epoll, &shakes[slot], slot);
            begun += 1;
        }
        published.store(n_total, Relaxed);
    }
    // The first ones have no ticket yet.
    let expected = if o.resume { n_total.saturating_sub(2 * o.conns as u64) } else { 0 };
    assert!(
        if o.resume { resumed >= expected } else { resumed == 0 },
        "{resumed} of {n_total} were resumed"
    );
    let (t0, n0, c0) = measured.expect("measured");
    let dt = t0.elapsed().as_secs_f64();
    let q = |p: f64| hist.value_at_quantile(p) as f64 / 1e3;
    println!(
        "{{\"rps\":{:.0},\"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"max\":{:.1},\"gen_cpu\":{:.3},\"n_total\":{n_total},\"resumed\":{resumed},\"run\":{:.4}}}",
        (n_total - n0) as f64 / dt,
        q(0.5), q(0.9), q(0.99), q(0.999),
        hist.max() as f64 / 1e3,
        (cpu_self() - c0) / dt,
        start.elapsed().as_secs_f64()
    );
}
