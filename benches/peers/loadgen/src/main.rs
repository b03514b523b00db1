//! Single-threaded io_uring load generator for protocols whose requests and answers have a fixed size. x86-64 only.
//!
//! Usage: `loadgen [OPTIONS]`; prints one JSON line (rates per second, latencies in microseconds).
//!
//! * `--proto P` echo (TCP, default), http, ws, mqtt0 (QoS 0 to itself), mqtt1 (QoS 1 PUBACK), fan (MQTT, connection 0
//!   publishes to all others), resp (Redis PING), udp, tls-hs (TLS handshakes: `handshakes.rs`)
//! * `--per N` with http: N requests per connection, then another one (`short.rs`)
//! * `--tls` TLS 1.3 under any of them but udp (`tls.rs`); `--resume` with tls-hs: resume sessions
//! * `--port N`, `--addr A:P` the server, default 127.0.0.1:7000
//! * `--conns N` connections (64); `--size B` payload bytes (64); `--path P` HTTP path (/)
//! * `--depth D` closed loop with D units outstanding per connection (1)
//! * `--rate R` open loop: R units/s over all connections, busy-polling; latency counts from the *scheduled* send time
//!   (no coordinated omission)
//! * `--warm S` seconds before measuring (0.3); `--secs S` seconds measured (2); `--count N` stop after N units
//! * `--spin` never sleep in the closed loop
//! * `--hold S` only connect, do one exchange each, print "held" and keep the connections for S seconds
//! * `-v` print the first HTTP answer
//!
//! `$PEER_COUNTER` names a file of 8 bytes that always holds the number of units done, for `bench.py --mode duel`, which
//! stops and continues the process: for UDP, nothing is counted as lost for having been stopped.
use hdrhistogram::Histogram;
use io_uring::{cqueue, opcode, types};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use uringkit::{push, ud, unud, BufRing};

mod handshakes;
mod short;
mod tls;
mod units;

#[derive(Clone, Debug)]
struct Opt {
    proto: String,
    addr: SocketAddr,
    conns: usize,
    size: usize,
    depth: usize,
    rate: f64,
    secs: f64,
    warm: f64,
    hold: f64,
    count: u64,
    per: u64,
    path: String,
    verbose: bool,
    spin: bool,
    tls: bool,
    resume: bool,
}

fn opts() -> Opt {
    let mut o = Opt {
        proto: "echo".into(),
        addr: "127.0.0.1:7000".parse().unwrap(),
        conns: 64,
        size: 64,
        depth: 1,
        rate: 0.0,
        secs: 2.0,
        warm: 0.3,
        hold: 0.0,
        count: 0,
        per: 0,
        path: "/".into(),
        verbose: false,
        spin: false,
        tls: false,
        resume: false,
    };
    let a: Vec<String> = std::env::args().skip(1).collect();
    let mut i = 0;
    while i < a.len() {
        let k = a[i].clone();
        if ["-v", "--spin", "--tls", "--resume"].contains(&k.as_str()) {
            o.verbose |= k == "-v";
            o.spin |= k == "--spin";
            o.tls |= k == "--tls";
            o.resume |= k == "--resume";
            i += 1;
            continue;
        }
        let v = a.get(i + 1).cloned().unwrap_or_else(|| {
            eprintln!("usage: loadgen --proto echo|http|ws|mqtt0|mqtt1|fan|resp|udp|tls-hs [--tls] [--resume] --port P --conns N --size B --depth D [--rate R] --secs S --warm W [--spin] [--hold S] [--count N] [--per N]");
            std::process::exit(2)
        });
        match k.as_str() {
            "--proto" => o.proto = v,
            "--addr" => o.addr = v.parse().unwrap(),
            "--port" => o.addr.set_port(v.parse().unwrap()),
            "--conns" | "-c" => o.conns = v.parse().unwrap(),
            "--size" | "-s" => o.size = v.parse().unwrap(),
            "--depth" | "-d" => o.depth = v.parse().unwrap(),
            "--rate" | "-r" => o.rate = v.parse().unwrap(),
            "--secs" | "-t" => o.secs = v.parse().unwrap(),
            "--warm" => o.warm = v.parse().unwrap(),
            "--hold" => o.hold = v.parse().unwrap(),
            "--count" => o.count = v.parse().unwrap(),
            "--per" => o.per = v.parse().unwrap(),
            "--path" => o.path = v,
            _ => panic!("unknown option {k}"),
        }
        i += 2;
    }
    o
}

struct Conn {
    tx: *const u8, // K units back to back
    acc: usize,
    to_send: usize,
    sending: bool,
    ts: VecDeque<u64>,
    last: u64,
    tls: Option<tls::Tls>,
}

fn rdtsc() -> u64 {
    unsafe { core::arch::x86_64::_rdtsc() }
}

fn payload(n: usize) -> Vec<u8> {
    (0..n).map(|i| b'a' + (i % 26) as u8).collect()
}

fn read_until(s: &mut impl Read, pat: &[u8]) -> Vec<u8> {
    let mut v = Vec::new();
    let mut b = [0u8; 4096];
    loop {
        if v.windows(pat.len()).any(|w| w == pat) {
            return v;
        }
        let n = s.read(&mut b).expect("read");
        assert!(n > 0, "peer closed during handshake: {}", String::from_utf8_lossy(&v));
        v.extend_from_slice(&b[..n]);
    }
}

fn mqtt_str(v: &mut Vec<u8>, s: &[u8]) {
    v.extend_from_slice(&(s.len() as u16).to_be_bytes());
    v.extend_from_slice(s);
}
fn mqtt_packet(t: u8, body: &[u8]) -> Vec<u8> {
    let mut v = vec![t];
    let mut n = body.len();
    loop {
        let mut b = (n % 128) as u8;
        n /= 128;
        if n > 0 {
            b |= 0x80;
        }
        v.push(b);
        if n == 0 {
            break;
        }
    }
    v.extend_from_slice(body);
    v
}

/// Performs the per-connection handshake plus one full exchange; returns (tx unit, rx unit length).
fn handshake(o: &Opt, i: usize, s: &mut (impl Read + Write)) -> (Vec<u8>, usize) {
    match o.proto.as_str() {
        "echo" => {
            let u = payload(o.size);
            s.write_all(&u).unwrap();
            let mut b = vec![0; o.size];
            s.read_exact(&mut b).unwrap();
            assert!(b == u, "echo mismatch");
            let n = u.len();
            (u, n)
        }
        "http" => {
            let u = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", o.path).into_bytes();
            s.write_all(&u).unwrap();
            let mut v = read_until(s, b"\r\n\r\n");
            let h = v.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            let hs = String::from_utf8_lossy(&v[..h]).to_ascii_lowercase();
            assert!(hs.starts_with("http/1.1 200"), "{hs}");
            let cl: usize = hs
                .lines()
                .find_map(|l| l.strip_prefix("content-length:").map(|x| x.trim().parse().unwrap()))
                .expect("content-length");
            while v.len() < h + cl {
                let mut b = [0u8; 4096];
                let n = s.read(&mut b).unwrap();
                v.extend_from_slice(&b[..n]);
            }
            assert!(v.len() == h + cl);
            if i == 0 && o.verbose {
                eprintln!("{}", String::from_utf8_lossy(&v));
            }
            (u, h + cl)
        }
        "ws" => {
            s.write_all(
                b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            )
            .unwrap();
            let v = read_until(s, b"\r\n\r\n");
            assert!(v.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&v));
            assert!(v.ends_with(b"\r\n\r\n"));
            let p = payload(o.size);
            let mask = [0x37u8, 0xfa, 0x21, 0x3d];
            let hdr = |masked: bool| {
                let m = if masked { 0x80u8 } else { 0 };
                let mut f = vec![0x82u8];
                if p.len() < 126 {
                    f.push(m | p.len() as u8);
                } else if p.len() < 65536 {
                    f.push(m | 126);
                    f.extend_from_slice(&(p.len() as u16).to_be_bytes());
                } else {
                    f.push(m | 127);
                    f.extend_from_slice(&(p.len() as u64).to_be_bytes());
                }
                f
            };
            let mut u = hdr(true);
            u.extend_from_slice(&mask);
            u.extend(p.iter().enumerate().map(|(i, b)| b ^ mask[i & 3]));
            let mut r = hdr(false);
            r.extend_from_slice(&p);
            s.write_all(&u).unwrap();
            let mut b = vec![0; r.len()];
            s.read_exact(&mut b).unwrap();
            assert!(b == r, "ws echo mismatch {:x?} vs {:x?}", &b[..8], &r[..8]);
            let n = r.len();
            (u, n)
        }
        "mqtt0" | "mqtt1" | "fan" => {
            let mut b = Vec::new();
            mqtt_str(&mut b, b"MQTT");
            b.extend_from_slice(&[4, 2, 0, 0]);
            mqtt_str(&mut b, format!("c{i:05}").as_bytes());
            s.write_all(&mqtt_packet(0x10, &b)).unwrap();
            let mut r = [0u8; 4];
            s.read_exact(&mut r).unwrap();
            assert!(r == [0x20, 2, 0, 0], "connack {r:?}");
            let fan = o.proto == "fan";
            let topic = if fan { "fan/00".to_string() } else { format!("t{i:05}") };
            if o.proto == "mqtt0" || (fan && i > 0) {
                let mut b = vec![0, 1];
                mqtt_str(&mut b, topic.as_bytes());
                b.push(0);
                s.write_all(&mqtt_packet(0x82, &b)).unwrap();
                let mut r = [0u8; 5];
                s.read_exact(&mut r).unwrap();
                assert!(r[0] == 0x90 && r[4] == 0, "suback {r:?}");
            }
            let mut b = Vec::new();
            mqtt_str(&mut b, topic.as_bytes());
            let q1 = o.proto == "mqtt1";
            if q1 {
                b.extend_from_slice(&[0, 7]);
            }
            b.extend_from_slice(&payload(o.size));
            let u = mqtt_packet(if q1 { 0x32 } else { 0x30 }, &b);
            let rx = if q1 { 4 } else { u.len() };
            if !fan {
                s.write_all(&u).unwrap();
                let mut b = vec![0; rx];
                s.read_exact(&mut b).unwrap();
                assert!(if q1 { b == [0x40, 2, 0, 7] } else { b == u }, "mqtt exchange");
            }
            (u, rx)
        }
        "resp" => {
            let u = b"*1\r\n$4\r\nPING\r\n".to_vec();
            s.write_all(&u).unwrap();
            let mut b = [0u8; 7];
            s.read_exact(&mut b).unwrap();
            assert!(&b == b"+PONG\r\n");
            (u, 7)
        }
        p => panic!("proto {p}"),
    }
}

fn tsc_hz() -> f64 {
    let (t0, c0) = (Instant::now(), rdtsc());
    std::thread::sleep(Duration::from_millis(30));
    (rdtsc() - c0) as f64 / t0.elapsed().as_secs_f64()
}

fn cpu_self() -> f64 {
    unsafe {
        let mut r: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut r);
        let f = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
        f(r.ru_utime) + f(r.ru_stime)
    }
}

/// The counter in `$PEER_COUNTER`, or one that nobody sees.
fn counter() -> &'static AtomicU64 {
    let Some(path) = std::env::var_os("PEER_COUNTER") else { return Box::leak(Box::default()) };
    let f = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("PEER_COUNTER");
    f.set_len(8).unwrap();
    // SAFETY: a shared mapping of the whole file, page-aligned, never unmapped; others only read it
    unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let p = libc::mmap(std::ptr::null_mut(), 8, prot, libc::MAP_SHARED, f.as_raw_fd(), 0);
        assert!(p != libc::MAP_FAILED);
        &*p.cast::<AtomicU64>()
    }
}

/// A turn of the loop that took longer than this was a stop of the process.
const STOPPED_SECS: f64 = 0.04;
/// Units of this many bytes and more are counted, not copied, by the generator: it must not be the limit.
const COUNTED_MIN: usize = 32 << 10;
const RECV: u8 = 1;
const SEND: u8 = 2;

fn main() {
    let o = opts();
    unsafe {
        let mut rl: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut rl);
        rl.rlim_cur = rl.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &rl);
    }
    if o.proto == "tls-hs" {
        return handshakes::run(&o);
    }
    if o.per > 0 {
        assert!(o.proto == "http" && !o.tls, "--per is for --proto http without --tls");
        return short::run(&o);
    }
    let secure = o.tls.then(|| tls::config(o.resume));
    let udp = o.proto == "udp";
    let fan = o.proto == "fan";
    let open = o.rate > 0.0;
    // batch of units kept contiguous so several can go out in one send
    let k = if udp { 1 } else { o.depth.max(if open { 16 } else { 1 }) };
    let mut fds = Vec::new();
    let mut conns: Vec<Conn> = Vec::new();
    let mut rx_unit = 0;
    let mut tx_unit = 0;
    let mut shared: Option<*const u8> = None;
    for i in 0..o.conns {
        let unit;
        let mut tls = None;
        if udp {
            let s = UdpSocket::bind("127.0.0.1:0").unwrap();
            s.connect(o.addr).unwrap();
            unsafe {
                let v: i32 = 4 << 20;
                libc::setsockopt(
                    s.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_RCVBUFFORCE,
                    (&v as *const i32).cast(),
                    4,
                );
                libc::setsockopt(
                    s.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_SNDBUFFORCE,
                    (&v as *const i32).cast(),
                    4,
                );
            }
            unit = payload(o.size);
            rx_unit = o.size;
            fds.push(s.into_raw_fd());
        } else {
            let mut s = TcpStream::connect(o.addr).expect("connect");
            s.set_nodelay(true).unwrap();
            let (u, r) = match &secure {
                None => handshake(&o, i, &mut s),
                Some(config) => {
                    let mut stream = rustls::StreamOwned::new(tls::connection(config), s);
                    let exchanged = handshake(&o, i, &mut stream);
                    tls = Some(tls::Tls::new(stream.conn));
                    s = stream.sock;
                    exchanged
                }
            };
            assert!(rx_unit == 0 || rx_unit == r, "response length varies: {rx_unit} {r}");
            unit = u;
            rx_unit = r;
            fds.push(s.into_raw_fd());
        }
        tx_unit = unit.len();
        let tx = match (o.proto.starts_with("mqtt"), shared) {
            (false, Some(p)) => p,
            _ => {
                let p = Box::leak(unit.repeat(k).into_boxed_slice()).as_ptr();
                shared = Some(p);
                p
            }
        };
        conns.push(Conn {
            tx,
            acc: 0,
            to_send: 0,
            sending: false,
            ts: VecDeque::with_capacity(o.depth),
            last: 0,
            tls,
        });
    }
    if o.hold > 0.0 {
        println!("held {} conns", o.conns);
        std::io::stdout().flush().unwrap();
        std::thread::sleep(Duration::from_secs_f64(o.hold));
        return;
    }
    let hz = tsc_hz();
    let mut ring = uringkit::ring(4096, 16384, true).expect("io_uring");
    let want = ((rx_unit + secure.is_some() as usize) * o.depth.min(16))
        .next_power_of_two()
        .clamp(2048, 65536);
    // Large ones 4 MiB in all: more would not stay in the core's own cache.
    let nbufs = if want > 8192 { ((4u32 << 20) / want as u32).max(128) as u16 } else { 1024 };
    let mut br = BufRing::new(&ring, nbufs, want as u32, 0).unwrap();
    ring.submitter().register_files(&fds).unwrap();
    let _ = ring.submitter().register_ring_fd();
    let (sub, mut sq, mut cq) = ring.split();
    // Of large answers that nobody looks into, the kernel need not copy the bytes: it counts them all the same (tcp(7)).
    let recv_flags = if rx_unit >= COUNTED_MIN && !udp && !o.tls { libc::MSG_TRUNC } else { 0 };
    let recv = |i: u32| {
        let recv = opcode::RecvMulti::new(types::Fixed(i), 0).flags(recv_flags);
        recv.build().user_data(ud(RECV, 0, i))
    };
    for i in 0..conns.len() {
        push(&sub, &mut sq, &recv(i as u32));
    }
    sq.sync();
    sub.submit().unwrap();
    let mut hist: Histogram<u64> = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    let start = rdtsc();
    let warm_end = start + (o.warm * hz) as u64;
    let end = warm_end + (o.secs * hz) as u64;
    let mut n_total: u64 = o.conns as u64 * (!udp as u64);
    let mut n_meas: u64 = 0;
    let mut lost: u64 = 0;
    let mut errors: u64 = 0;
    let mut in_meas = false;
    let mut cpu0 = cpu_self();
    let mut t_meas0 = start;
    let interval = if open { hz / o.rate } else { 0.0 };
    let mut due = start as f64;
    let mut rr = 0usize;
    let ncon = conns.len();
    // fan-out bookkeeping: conn 0 publishes, the others receive
    let subs = (ncon - 1).max(1) as u64;
    let mut fan_rx: u64 = 0;
    let mut fan_done: u64 = 0;

    macro_rules! kick {
        ($i:expr) => {{
            let i = $i;
            let c = &mut conns[i];
            if !c.sending && c.to_send > 0 {
                if udp {
                    // one datagram per SQE; no ordering issue, do not wait for completion
                    while c.to_send > 0 {
                        push(
                            &sub,
                            &mut sq,
                            &opcode::Send::new(types::Fixed(i as u32), c.tx, tx_unit as u32)
                                .build()
                                .flags(io_uring::squeue::Flags::SKIP_SUCCESS)
                                .user_data(ud(SEND, 0, i as u32)),
                        );
                        c.to_send -= 1;
                    }
                } else {
                    let m = c.to_send.min(k);
                    c.to_send -= m;
                    c.sending = true;
                    let (tx, len) = match &mut c.tls {
                        // SAFETY: `k` units lie there, and `m` is at most that
                        Some(tls) => {
                            tls.seal(unsafe { std::slice::from_raw_parts(c.tx, m * tx_unit) })
                        }
                        None => (c.tx, m * tx_unit),
                    };
                    push(
                        &sub,
                        &mut sq,
                        &opcode::Send::new(types::Fixed(i as u32), tx, len as u32)
                            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
                            .build()
                            .user_data(ud(SEND, 0, i as u32)),
                    );
                }
            }
        }};
    }

    if !open {
        let now = rdtsc();
        for i in 0..if fan { 1 } else { ncon } {
            conns[i].to_send = o.depth;
            conns[i].last = now;
            for _ in 0..o.depth {
                conns[i].ts.push_back(now);
            }
            kick!(i);
        }
    }
    let ts50 = types::Timespec::new().nsec(20_000_000);
    let mut last_check = rdtsc();
    let published = counter();
    let mut last_turn = rdtsc();
    'outer: loop {
        let now = rdtsc();
        if udp && now - last_turn > (hz * STOPPED_SECS) as u64 {
            conns.iter_mut().for_each(|c| c.last = now);
        }
        last_turn = now;
        if !in_meas && now >= warm_end {
            in_meas = true;
            t_meas0 = now;
            cpu0 = cpu_self();
            hist.reset();
            n_meas = 0;
        }
        if now >= end || (o.count > 0 && n_total >= o.count) {
            break 'outer;
        }
        if open {
            let mut budget = 1024;
            while (due as u64) <= now && budget > 0 {
                let i = rr;
                rr += 1;
                if rr == ncon {
                    rr = 0;
                }
                conns[i].ts.push_back(due as u64);
                conns[i].to_send += 1;
                due += interval;
                budget -= 1;
                kick!(i);
            }
        }
        if open || o.spin {
            sq.sync();
            let n = sq.len() as u32;
            unsafe { sub.enter::<libc::sigset_t>(n, 0, 1, None).expect("enter") };
        } else {
            sq.sync();
            let args = types::SubmitArgs::new().timespec(&ts50);
            match sub.submit_with_args(1, &args) {
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(libc::ETIME) => {}
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(e) => panic!("enter {e}"),
            }
        }
        sq.sync();
        cq.sync();
        for e in &mut cq {
            let (op, _, idx) = unud(e.user_data());
            let i = idx as usize;
            let r = e.result();
            if op == SEND {
                conns[i].sending = false;
                if r < 0 {
                    errors += 1;
                    if !udp {
                        eprintln!("send error {}", std::io::Error::from_raw_os_error(-r));
                        break 'outer;
                    }
                }
                kick!(i);
                continue;
            }
            if r <= 0 {
                if r == -libc::ENOBUFS || (udp && r == -libc::ECONNREFUSED) {
                    push(&sub, &mut sq, &recv(idx));
                    continue;
                }
                eprintln!("recv on conn {i}: {r}");
                errors += 1;
                break 'outer;
            }
            let bid = cqueue::buffer_select(e.flags()).unwrap();
            br.recycle(bid);
            if !cqueue::more(e.flags()) {
                push(&sub, &mut sq, &recv(idx));
            }
            let c = &mut conns[i];
            c.acc += match &mut c.tls {
                // SAFETY: the kernel has the buffer again after `commit`, not before
                Some(tls) => {
                    tls.take(unsafe { std::slice::from_raw_parts(br.ptr(bid), r as usize) })
                }
                None => r as usize,
            };
            let mut done = 0;
            while c.acc >= rx_unit {
                c.acc -= rx_unit;
                done += 1;
            }
            if done == 0 {
                continue;
            }
            let now = rdtsc();
            if fan {
                fan_rx += done as u64;
                n_total += done as u64;
                n_meas += done as u64;
                while fan_rx >= (fan_done + 1) * subs {
                    fan_done += 1;
                    if let Some(t) = conns[0].ts.pop_front() {
                        hist.record(((now - t) as f64 * 1e9 / hz) as u64).ok();
                    }
                    conns[0].ts.push_back(now);
                    conns[0].to_send += 1;
                }
                kick!(0);
                continue;
            }
            c.last = now;
            for _ in 0..done {
                if let Some(t) = c.ts.pop_front() {
                    hist.record(((now.saturating_sub(t)) as f64 * 1e9 / hz).max(1.0) as u64).ok();
                }
            }
            n_total += done as u64;
            n_meas += done as u64;
            if !open {
                for _ in 0..done {
                    c.ts.push_back(now);
                }
                c.to_send += done;
                kick!(i);
            }
        }
        br.commit();
        published.store(n_total, Relaxed);
        if udp && !open {
            let now = rdtsc();
            if now - last_check > (hz * 0.02) as u64 {
                last_check = now;
                for i in 0..ncon {
                    if now - conns[i].last > (hz * 0.1) as u64 {
                        lost += conns[i].ts.len() as u64;
                        conns[i].ts.clear();
                        conns[i].last = now;
                        conns[i].to_send = o.depth;
                        for _ in 0..o.depth {
                            conns[i].ts.push_back(now);
                        }
                        kick!(i);
                    }
                }
            }
        }
    }
    let dt = (rdtsc() - t_meas0) as f64 / hz;
    let cpu = cpu_self() - cpu0;
    let q = |p: f64| hist.value_at_quantile(p) as f64 / 1e3;
    let backlog: usize = conns.iter().map(|c| c.ts.len()).sum();
    println!(
        "{{\"rps\":{:.0},\"mbps\":{:.1},\"p50\":{:.2},\"p90\":{:.2},\"p99\":{:.2},\"p999\":{:.2},\"max\":{:.1},\"gen_cpu\":{:.3},\"n_total\":{},\"n\":{},\"errors\":{},\"lost\":{},\"backlog\":{},\"rx_unit\":{},\"run\":{:.4}}}",
        n_meas as f64 / dt,
        n_meas as f64 * rx_unit as f64 / dt / 1e6,
        q(0.5), q(0.9), q(0.99), q(0.999),
        hist.max() as f64 / 1e3,
        cpu / dt,
        n_total,
        n_meas,
        errors,
        lost,
        if open { backlog } else { 0 },
        rx_unit,
        (rdtsc() - start) as f64 / hz
    );
}
