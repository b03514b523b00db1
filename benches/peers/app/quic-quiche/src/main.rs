//! quiche QUIC server on a mio loop (recvmmsg in, UDP_SEGMENT out); same protocol as `quinn-server`.
//!
//! Usage: `quic-quiche PORT`  (certificate: `$PEER_CERT_DIR`, default `run/cert`)
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
peerkit::counting!();

struct Client {
    c: quiche::Connection,
    peer: SocketAddr,
    bulk: Option<u64>,
    part: HashMap<u64, (Vec<u8>, usize, bool)>, // unsent echo bytes, offset, fin
    sink: Option<u64>,                          // the stream whose bytes are thrown away
    flood: usize,                               // length of the datagrams that are sent without end
    counted: u64,                               // datagrams that were received and not echoed
}

fn sa(a: &libc::sockaddr_in) -> SocketAddr {
    (a.sin_addr.s_addr.to_ne_bytes(), u16::from_be(a.sin_port)).into()
}

fn main() {
    peerkit::init();
    peerkit::backend!("epoll");
    let mut cfg = quiche::Config::new(quiche::PROTOCOL_VERSION).unwrap();
    cfg.load_cert_chain_from_pem_file(peerkit::cert("cert.pem").to_str().unwrap()).unwrap();
    cfg.load_priv_key_from_pem_file(peerkit::cert("key.pem").to_str().unwrap()).unwrap();
    cfg.set_application_protos(&[b"h3"]).unwrap();
    cfg.set_max_idle_timeout(30000);
    cfg.set_max_recv_udp_payload_size(1472);
    cfg.set_max_send_udp_payload_size(1452);
    cfg.set_initial_max_data(16 << 20);
    cfg.set_initial_max_stream_data_bidi_local(8 << 20);
    cfg.set_initial_max_stream_data_bidi_remote(8 << 20);
    cfg.set_initial_max_streams_bidi(1024);
    cfg.enable_dgram(true, 8192, 8192);
    cfg.set_disable_active_migration(true);
    let s = std::net::UdpSocket::bind(("127.0.0.1", peerkit::port())).unwrap();
    s.set_nonblocking(true).unwrap();
    let local = s.local_addr().unwrap();
    let fd = s.as_raw_fd();
    let v: i32 = 8 << 20;
    for o in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, o, (&v as *const i32).cast(), 4) };
    }
    let mut poll = Poll::new().unwrap();
    let mut sock = mio::net::UdpSocket::from_std(s);
    poll.registry().register(&mut sock, Token(0), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(16);
    const N: usize = 64;
    let mut bufs = vec![[0u8; 2048]; N];
    let mut names: Vec<libc::sockaddr_in> = vec![unsafe { std::mem::zeroed() }; N];
    let mut iov: Vec<libc::iovec> = bufs
        .iter_mut()
        .map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 2048 })
        .collect();
    let mut mm: Vec<libc::mmsghdr> = vec![unsafe { std::mem::zeroed() }; N];
    let mut cl: HashMap<quiche::ConnectionId<'static>, usize> = HashMap::new();
    let mut conns: Vec<Option<Client>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut scratch = vec![0u8; 65536];
    let chunk = vec![0x5au8; 64 << 10];
    let mut out = vec![0u8; 65536];
    let mut seed: u64 = 0x9e3779b97f4a7c15;
    let mut dirty: Vec<usize> = Vec::new();
    let mut last_timers = Instant::now();
    let mut next_timer: Option<Instant> = None;
    loop {
        let to = next_timer
            .map(|t| t.saturating_duration_since(Instant::now()).max(Duration::from_micros(100)));
        if poll.poll(&mut events, to).is_err() {
            continue;
        }
        loop {
            for i in 0..N {
                mm[i].msg_hdr.msg_name = (&mut names[i] as *mut libc::sockaddr_in).cast();
                mm[i].msg_hdr.msg_namelen = 16;
                mm[i].msg_hdr.msg_iov = &mut iov[i];
                mm[i].msg_hdr.msg_iovlen = 1;
            }
            let r = unsafe {
                libc::recvmmsg(
                    fd,
                    mm.as_mut_ptr(),
                    N as u32,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if r <= 0 {
                break;
            }
            for i in 0..r as usize {
                let from = sa(&names[i]);
                let pkt = &mut bufs[i][..mm[i].msg_len as usize];
                let Ok(h) = quiche::Header::from_slice(pkt, 16) else { continue };
                let idx = match cl.get(&h.dcid) {
                    Some(&x) => x,
                    None => {
                        if h.ty != quiche::Type::Initial {
                            continue;
                        }
                        let mut id = [0u8; 16];
                        for c in id.chunks_mut(8) {
                            seed ^= seed << 13;
                            seed ^= seed >> 7;
                            seed ^= seed << 17;
                            c.copy_from_slice(&seed.to_le_bytes());
                        }
                        let scid = quiche::ConnectionId::from_vec(id.to_vec());
                        let c = quiche::accept(&scid, None, local, from, &mut cfg).unwrap();
                        let x = free.pop().unwrap_or_else(|| {
                            conns.push(None);
                            conns.len() - 1
                        });
                        conns[x] = Some(Client {
                            c,
                            peer: from,
                            bulk: None,
                            part: HashMap::new(),
                            sink: None,
                            flood: 0,
                            counted: 0,
                        });
                        cl.insert(scid, x);
                        cl.insert(h.dcid.clone().into_owned(), x);
                        x
                    }
                };
                if let Some(k) = conns[idx].as_mut() {
                    k.peer = from;
                    let _ = k.c.recv(pkt, quiche::RecvInfo { from, to: local });
                    dirty.push(idx);
                }
            }
            if (r as usize) < N {
                break;
            }
        }
        let now = Instant::now();
        if next_timer.map_or(false, |t| now >= t) || now - last_timers > Duration::from_millis(5) {
            last_timers = now;
            for (i, k) in conns.iter_mut().enumerate() {
                if let Some(k) = k {
                    if k.c.timeout_instant().map_or(false, |t| t <= now) {
                        k.c.on_timeout();
                        dirty.push(i);
                    }
                }
            }
        }
        dirty.sort_unstable();
        dirty.dedup();
        for &i in &dirty {
            let Some(k) = conns[i].as_mut() else { continue };
            if k.c.is_established() {
                while let Ok(n) = k.c.dgram_recv(&mut scratch) {
                    if scratch[0] == b'S' {
                        k.counted += 1;
                    } else {
                        let _ = k.c.dgram_send(&scratch[..n]);
                    }
                }
                let ids: Vec<u64> = k.c.readable().collect();
                for id in ids {
                    while let Ok((mut n, fin)) = k.c.stream_recv(id, &mut scratch) {
                        if k.sink == Some(id) {
                            continue;
                        }
                        match scratch[..n] {
                            [b'B'] => {
                                k.bulk = Some(id);
                                continue;
                            }
                            [b'U', ..] => {
                                k.sink = Some(id);
                                continue;
                            }
                            [b'D', high, low] => {
                                k.flood = u16::from_be_bytes([high, low]).into();
                                continue;
                            }
                            [b'C'] => {
                                scratch[..8].copy_from_slice(&k.counted.to_be_bytes());
                                n = 8;
                            }
                            _ => {}
                        }
                        if k.part.contains_key(&id) {
                            let p = k.part.get_mut(&id).unwrap();
                            p.0.extend_from_slice(&scratch[..n]);
                            p.2 = fin;
                        } else {
                            let w = k.c.stream_send(id, &scratch[..n], fin).unwrap_or(0);
                            if w < n {
                                k.part.insert(id, (scratch[w..n].to_vec(), 0, fin));
                            }
                        }
                        if fin {
                            break;
                        }
                    }
                }
                if !k.part.is_empty() {
                    let c = &mut k.c;
                    k.part.retain(|id, p| {
                        let w = c.stream_send(*id, &p.0[p.1..], p.2).unwrap_or(0);
                        p.1 += w;
                        p.1 < p.0.len()
                    });
                }
                if let Some(id) = k.bulk {
                    while let Ok(w) = k.c.stream_send(id, &chunk, false) {
                        if w == 0 {
                            break;
                        }
                    }
                }
            }
            while k.flood > 0 && k.c.dgram_send(&chunk[..k.flood]).is_ok() {}
            flush(fd, k, &mut out);
            if k.flood > 0 {
                while k.c.dgram_send(&chunk[..k.flood]).is_ok() {}
                flush(fd, k, &mut out);
            }
            if k.bulk.is_some() {
                // refill what the flush drained
                while let Ok(w) = k.c.stream_send(k.bulk.unwrap(), &chunk, false) {
                    if w == 0 {
                        break;
                    }
                }
                flush(fd, k, &mut out);
            }
            if k.c.is_closed() {
                conns[i] = None;
                free.push(i);
                cl.retain(|_, v| *v != i);
            }
        }
        dirty.clear();
        next_timer = conns.iter().flatten().filter_map(|k| k.c.timeout_instant()).min();
    }
}

/// Coalesce equal-size packets and send them with one UDP_SEGMENT sendmsg.
fn flush(fd: i32, k: &mut Client, out: &mut [u8]) {
    loop {
        let mut n = 0;
        let mut seg = 0usize;
        let quantum = k.c.send_quantum().min(out.len() - 2048).min(40 * 1452);
        let mut segs = 0;
        let mut done = false;
        while n < quantum && segs < 44 {
            let lim = if seg == 0 { 1452 } else { seg };
            let end = n + lim.min(out.len() - n);
            match k.c.send(&mut out[n..end]) {
                Ok((w, _)) => {
                    n += w;
                    segs += 1;
                    if seg == 0 {
                        seg = w;
                    } else if w < seg {
                        break;
                    }
                }
                Err(quiche::Error::Done) => {
                    done = true;
                    break;
                }
                Err(_) => {
                    done = true;
                    k.c.close(false, 1, b"fail").ok();
                    break;
                }
            }
        }
        if n == 0 {
            return;
        }
        unsafe {
            let SocketAddr::V4(a4) = k.peer else { return };
            let mut sa: libc::sockaddr_in = std::mem::zeroed();
            sa.sin_family = libc::AF_INET as _;
            sa.sin_port = a4.port().to_be();
            sa.sin_addr.s_addr = u32::from_ne_bytes(a4.ip().octets());
            let mut iov = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: n };
            let mut ctl = [0u64; 4];
            let mut m: libc::msghdr = std::mem::zeroed();
            m.msg_name = (&mut sa as *mut libc::sockaddr_in).cast();
            m.msg_namelen = 16;
            m.msg_iov = &mut iov;
            m.msg_iovlen = 1;
            if n > seg {
                m.msg_control = ctl.as_mut_ptr().cast();
                m.msg_controllen = libc::CMSG_SPACE(2) as _;
                let c = libc::CMSG_FIRSTHDR(&m);
                (*c).cmsg_level = libc::SOL_UDP;
                (*c).cmsg_type = libc::UDP_SEGMENT;
                (*c).cmsg_len = libc::CMSG_LEN(2) as _;
                *(libc::CMSG_DATA(c) as *mut u16) = seg as u16;
            }
            libc::sendmsg(fd, &m, 0);
        }
        if done {
            return;
        }
    }
}
