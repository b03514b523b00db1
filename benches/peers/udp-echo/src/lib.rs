//! What the UDP echo servers share: a bound UDP socket with 8 MiB socket buffers, and a batch of datagrams.

/// Largest datagram that is echoed.
const DATAGRAM_LEN_MAX: usize = 2048;

pub fn socket(port: u16) -> std::net::UdpSocket {
    use std::os::fd::AsRawFd;
    let s = std::net::UdpSocket::bind(("127.0.0.1", port)).expect("bind");
    let v: i32 = 8 << 20;
    for o in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        unsafe {
            libc::setsockopt(s.as_raw_fd(), libc::SOL_SOCKET, o, (&v as *const i32).cast(), 4)
        };
    }
    s
}

/// Headers, addresses and buffers of one recvmmsg or sendmmsg.
pub struct Batch {
    pub v: Vec<libc::mmsghdr>,
    pub iov: Vec<libc::iovec>,
    _names: Vec<libc::sockaddr_in>,
    _bufs: Vec<[u8; DATAGRAM_LEN_MAX]>,
}

impl Batch {
    pub fn new(n: usize) -> Self {
        let mut bufs = vec![[0u8; DATAGRAM_LEN_MAX]; n];
        let mut names: Vec<libc::sockaddr_in> = vec![unsafe { std::mem::zeroed() }; n];
        let mut iov: Vec<libc::iovec> = bufs
            .iter_mut()
            .map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() })
            .collect();
        let mut v: Vec<libc::mmsghdr> = vec![unsafe { std::mem::zeroed() }; n];
        for i in 0..n {
            v[i].msg_hdr.msg_name = (&mut names[i] as *mut libc::sockaddr_in).cast();
            v[i].msg_hdr.msg_namelen = 16;
            v[i].msg_hdr.msg_iov = &mut iov[i];
            v[i].msg_hdr.msg_iovlen = 1;
        }
        Batch { v, iov, _names: names, _bufs: bufs }
    }
    pub fn len(&self) -> usize {
        self.v.len()
    }
    pub fn is_empty(&self) -> bool {
        self.v.is_empty()
    }
    /// Sends the first `n`; one that the kernel refuses is skipped.
    pub fn send(&mut self, fd: i32, n: usize) {
        let mut o = 0;
        while o < n {
            let k = unsafe { libc::sendmmsg(fd, self.v.as_mut_ptr().add(o), (n - o) as u32, 0) };
            o += if k > 0 { k as usize } else { 1 };
        }
    }
    /// Receives what is there, at most one batch, and sends it back; returns how many.
    pub fn echo(&mut self, fd: i32) -> usize {
        self.echo_with(fd, libc::MSG_DONTWAIT)
    }
    /// The same with recvmmsg flags of the caller's choice.
    pub fn echo_with(&mut self, fd: i32, flags: i32) -> usize {
        let n = self.receive(fd, flags);
        for i in 0..n {
            self.iov[i].iov_len = self.v[i].msg_len as usize;
        }
        self.send(fd, n);
        self.reset(n);
        n
    }
    /// Receives what is there, at most one batch; `msg_len` of each `v` tells how long it is.
    pub fn receive(&mut self, fd: i32, flags: i32) -> usize {
        let n = self.v.len() as u32;
        unsafe {
            libc::recvmmsg(fd, self.v.as_mut_ptr(), n, flags as _, std::ptr::null_mut()).max(0)
                as usize
        }
    }
    /// Makes the first `n` ready to receive again.
    pub fn reset(&mut self, n: usize) {
        for i in 0..n {
            self.iov[i].iov_len = DATAGRAM_LEN_MAX;
            self.v[i].msg_hdr.msg_namelen = 16;
        }
    }
}
