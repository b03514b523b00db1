//! The kernel's TLS record layer, Documentation/networking/tls.rst.
//!
//! Role: hand a key over, and the calls that records which are no data need. Not role: when, and
//! what becomes of them.
//!
//! ```text
//! struct tls12_crypto_info_*: | version: u16 | cipher: u16 | iv | key | salt | rec_seq: 8 bytes |
//! AES-GCM                                                     8   16/32   4
//! ChaCha20-Poly1305                                          12   32      0
//! ```
//!
//! *Invariant*: no copy of a key is left in memory that was used here.

use super::errno;
use super::socket::{int_option, read_option, set_option};
use crate::error::{Errno, IoError};

/// One direction of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Tx,
    Rx,
}

impl Side {
    const fn option(self) -> i32 {
        match self {
            Self::Tx => libc::TLS_TX,
            Self::Rx => libc::TLS_RX,
        }
    }
}

/// A version and a cipher, as the kernel tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) is_tls13: bool,
    pub(crate) cipher: Cipher,
}

/// The ciphers that we have in common with the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Cipher {
    /// Its number, and the lengths of IV and key; the salt is what 12 bytes lack.
    const fn layout(self) -> (u16, usize, usize) {
        match self {
            Self::Aes128Gcm => (libc::TLS_CIPHER_AES_GCM_128, 8, 16),
            Self::Aes256Gcm => (libc::TLS_CIPHER_AES_GCM_256, 8, 32),
            Self::ChaCha20Poly1305 => (libc::TLS_CIPHER_CHACHA20_POLY1305, 12, 32),
        }
    }
}

/// One direction's key.
pub(crate) struct Key<'a> {
    pub(crate) suite: Suite,
    /// As long as the cipher has it.
    pub(crate) key: &'a [u8],
    /// Salt and IV.
    pub(crate) iv: [u8; NONCE_LEN],
    /// The number of the next record.
    pub(crate) seq: u64,
}

const NONCE_LEN: usize = 12;
const SEQ_LEN: usize = 8;
const INFO_LEN_MAX: usize = 56;

/// What `TLS_TX` and `TLS_RX` take; wiped when it goes.
struct CryptoInfo {
    bytes: [u8; INFO_LEN_MAX],
    len: usize,
}

impl CryptoInfo {
    /// Room for what the kernel tells.
    const fn empty(cipher: Cipher) -> Self {
        let (_, iv_len, key_len) = cipher.layout();
        let len = 4 + iv_len + key_len + (NONCE_LEN - iv_len) + SEQ_LEN;
        Self { bytes: [0; INFO_LEN_MAX], len }
    }

    fn of(key: &Key<'_>) -> Self {
        let mut info = Self::empty(key.suite.cipher);
        let (number, iv_len, _) = key.suite.cipher.layout();
        let version = match key.suite.is_tls13 {
            true => libc::TLS_1_3_VERSION,
            false => libc::TLS_1_2_VERSION,
        };
        let (salt, iv) = key.iv.split_at(NONCE_LEN - iv_len);
        let (version, number, seq) =
            (version.to_ne_bytes(), number.to_ne_bytes(), key.seq.to_be_bytes());
        let parts: [&[u8]; 6] = [&version, &number, iv, key.key, salt, &seq];
        let mut at = 0;
        for part in parts {
            info.bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        debug_assert_eq!(at, info.len, "a key of another length");
        info
    }

    fn seq(&self) -> u64 {
        let mut seq = [0; SEQ_LEN];
        seq.copy_from_slice(&self.bytes[self.len - SEQ_LEN..self.len]);
        u64::from_be_bytes(seq)
    }
}

impl Drop for CryptoInfo {
    fn drop(&mut self) {
        self.bytes.fill(0);
        // The memory is looked at, as far as the compiler knows: the zeros are written.
        std::hint::black_box(&self.bytes);
    }
}

/// Why the kernel does not do a direction's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nobody wants it to, or it does not pay.
    NotWanted,
    /// It could not, when it could have taken over, since something was under way.
    Pending,
    /// It has no module `tls`.
    NoModule,
    /// It is older than its record layer has to be.
    OldKernel,
    /// It does not know the suite.
    Suite,
    /// The socket is not TCP.
    NotTcp,
    /// Its records are of a size of its own.
    RecordSize,
    /// It cannot change keys.
    Rekey,
    /// Another reason.
    Os(Errno),
}

/// Lets the kernel seal or open from the next byte on: the first key of a direction, or (Linux
/// 6.14) the next one.
pub(crate) fn hand_over(fd: i32, side: Side, key: &Key<'_>) -> Result<(), Refusal> {
    match set_option(fd, "TCP_ULP", libc::SOL_TCP, libc::TCP_ULP, b"tls\0") {
        Ok(()) => {}
        Err(IoError::Os { errno: Errno(libc::EEXIST), .. }) => {}
        Err(IoError::Os { errno: Errno(libc::ENOENT), .. }) => return Err(Refusal::NoModule),
        Err(error) => return Err(Refusal::Os(number(&error))),
    }
    let info = CryptoInfo::of(key);
    match set_bytes(fd, side.option(), &info.bytes[..info.len]) {
        // Unknown to the record layer, unknown to the kernel's ciphers.
        Err(Errno(libc::EINVAL | libc::ENOENT)) => return Err(Refusal::Suite),
        Err(error) => return Err(Refusal::Os(error)),
        Ok(()) => {}
    }
    if side == Side::Rx && key.suite.is_tls13 {
        // Opened straight into our buffers as long as nobody pads; without it they are copied.
        let _ = set_option(fd, "TLS_RX", libc::SOL_TLS, libc::TLS_RX_EXPECT_NO_PAD, &1_i32);
    }
    Ok(())
}

/// The number of the next record that is sealed or opened.
pub(crate) fn seq(fd: i32, side: Side, cipher: Cipher) -> Result<u64, Errno> {
    let mut info = CryptoInfo::empty(cipher);
    let len = info.len;
    let read = read_option(fd, "TLS_TX", libc::SOL_TLS, side.option(), &mut info.bytes[..len]);
    read.map_err(|error| number(&error))?;
    Ok(info.seq())
}

/// Bytes that TCP was handed since the beginning, at the least: with its acknowledgements read
/// first, one that comes in between is counted in neither.
pub(crate) fn handed(fd: i32) -> Result<u64, Errno> {
    let acked = super::tcp::info(fd).map_err(|error| number(&error))?.bytes_acked;
    Ok(acked + unacknowledged(fd)?)
}

/// The same exactly; `None` while acknowledgements keep coming.
pub(crate) fn handed_exactly(fd: i32) -> Option<u64> {
    const TRIES_MAX: usize = 8;
    (0..TRIES_MAX).find_map(|_| {
        let before = super::tcp::info(fd).ok()?.bytes_acked;
        let rest = unacknowledged(fd).ok()?;
        let after = super::tcp::info(fd).ok()?.bytes_acked;
        (before == after).then_some(after + rest)
    })
}

/// `SIOCOUTQ`: bytes in TCP's hands that the peer did not acknowledge, tcp(7).
fn unacknowledged(fd: i32) -> Result<u64, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one int, to a local that outlives it.
    let answer = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    if answer < 0 { Err(Errno(errno())) } else { Ok(bytes.max(0) as u64) }
}

/// Sends one record that is no data; it is taken whole or not at all.
pub(crate) fn send(fd: i32, kind: u8, content: &[u8]) -> Result<(), Errno> {
    match send_once(fd, kind, content) {
        // What the kernel could not open is told here as well, and once: it does not end sending.
        Err(Errno(libc::EBADMSG | libc::EMSGSIZE | libc::EINVAL)) => {
            let _ = int_option(fd, "SO_ERROR", libc::SOL_SOCKET, libc::SO_ERROR);
            send_once(fd, kind, content)
        }
        other => other,
    }
}

fn send_once(fd: i32, kind: u8, content: &[u8]) -> Result<(), Errno> {
    let mut control = Control::new();
    control.header.cmsg_len = CONTROL_LEN;
    control.header.cmsg_level = libc::SOL_TLS;
    control.header.cmsg_type = libc::TLS_SET_RECORD_TYPE;
    control.kind = kind;
    let mut piece =
        libc::iovec { iov_base: content.as_ptr().cast_mut().cast(), iov_len: content.len() };
    let message = header(&mut piece, &mut control);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: what the header points to are locals and a slice that outlive the call, which reads.
    let sent = unsafe { libc::sendmsg(fd, &raw const message, flags) };
    if sent < 0 { Err(Errno(errno())) } else { Ok(()) }
}

/// Takes the record at the front, whatever its type: that, and how long it is.
pub(crate) fn recv(fd: i32, room: &mut [u8]) -> Result<(u8, usize), Errno> {
    let mut control = Control::new();
    let mut piece = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let mut message = header(&mut piece, &mut control);
    // SAFETY: what the header points to are locals and a slice that outlive the call, which writes
    // no more than their lengths.
    let len = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) };
    if len < 0 {
        return Err(Errno(errno()));
    }
    let is_type = message.msg_controllen >= CONTROL_LEN
        && control.header.cmsg_level == libc::SOL_TLS
        && control.header.cmsg_type == libc::TLS_GET_RECORD_TYPE;
    match is_type {
        true => Ok((control.kind, len as usize)),
        false => Err(Errno(libc::EIO)),
    }
}

/// A control message with one byte, and its padding.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    kind: u8,
    padding: [u8; 7],
}

const CONTROL_LEN: usize = size_of::<libc::cmsghdr>() + 1;

impl Control {
    const fn new() -> Self {
        let header = libc::cmsghdr { cmsg_len: 0, cmsg_level: 0, cmsg_type: 0 };
        Self { header, kind: 0, padding: [0; 7] }
    }
}

const fn header(piece: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: std::ptr::from_mut(piece),
        msg_iovlen: 1,
        msg_control: std::ptr::from_mut(control).cast(),
        msg_controllen: size_of::<Control>(),
        msg_flags: 0,
    }
}

fn set_bytes(fd: i32, option: i32, bytes: &[u8]) -> Result<(), Errno> {
    let len = bytes.len() as u32;
    // SAFETY: pointer and length are those of a slice that outlives the call.
    let answer = unsafe { libc::setsockopt(fd, libc::SOL_TLS, option, bytes.as_ptr().cast(), len) };
    if answer < 0 { Err(Errno(errno())) } else { Ok(()) }
}

fn number(error: &IoError) -> Errno {
    match error {
        IoError::Os { errno, .. } => *errno,
        _ => Errno(libc::EIO),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn bytes_of<T>(value: &T) -> &[u8] {
        // SAFETY: the structures of the tests are arrays of bytes and halves, without padding.
        unsafe { std::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }
    }

    const IV: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    fn info(cipher: Cipher, key: &[u8]) -> CryptoInfo {
        let suite = Suite { is_tls13: true, cipher };
        CryptoInfo::of(&Key { suite, key, iv: IV, seq: 0x0102 })
    }

    #[test]
    fn the_layout_is_that_of_the_kernels_structures() {
        let head = |cipher_type| libc::tls_crypto_info { version: 0x0304, cipher_type };
        let (iv, salt, rec_seq) =
            ([5, 6, 7, 8, 9, 10, 11, 12], [1, 2, 3, 4], [0, 0, 0, 0, 0, 0, 1, 2]);
        let key = [9; 16];
        let short = libc::tls12_crypto_info_aes_gcm_128 { info: head(51), iv, key, salt, rec_seq };
        let ours = info(Cipher::Aes128Gcm, &key);
        assert_eq!(&ours.bytes[..ours.len], bytes_of(&short));
        let key = [9; 32];
        let long = libc::tls12_crypto_info_aes_gcm_256 { info: head(52), iv, key, salt, rec_seq };
        let ours = info(Cipher::Aes256Gcm, &key);
        assert_eq!(&ours.bytes[..ours.len], bytes_of(&long));
        let (salt, iv) = ([], IV);
        let other =
            libc::tls12_crypto_info_chacha20_poly1305 { info: head(54), iv, key, salt, rec_seq };
        let ours = info(Cipher::ChaCha20Poly1305, &key);
        assert_eq!(&ours.bytes[..ours.len], bytes_of(&other));
        assert_eq!(ours.seq(), 0x0102);
    }

    #[test]
    fn what_tcp_was_handed_is_counted() {
        let (mut client, mut server) = pair();
        let fd = client.as_raw_fd();
        let before = handed_exactly(fd).unwrap();
        client.write_all(&[1; 1000]).unwrap();
        assert_eq!(handed(fd).map(|now| now - before), Ok(1000));
        server.read_exact(&mut [0; 1000]).unwrap();
        client.write_all(&[1; 10]).unwrap();
        assert_eq!(handed_exactly(fd).map(|now| now - before), Some(1010));
        assert_eq!(handed(-1), Err(Errno(libc::EBADF)));
    }

    #[test]
    fn a_socket_without_tls_has_no_records() {
        let (mut client, server) = pair();
        let (fd, suite) = (server.as_raw_fd(), Cipher::Aes128Gcm);
        assert_eq!(recv(fd, &mut [0; 10]), Err(Errno(libc::EAGAIN)));
        client.write_all(b"plain").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(recv(fd, &mut [0; 10]), Err(Errno(libc::EIO)), "data without a type");
        assert!(seq(fd, Side::Tx, suite).is_err());
    }
}
