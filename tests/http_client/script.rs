//! A server that does as it was told: byte for byte, connection by connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::kit::PATIENCE;

/// What is done on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    /// Reads a request's head, and the body that its `Content-Length` promises.
    Read,
    /// Reads up to so many bytes in all.
    ReadBytes(usize),
    Send(Vec<u8>),
    /// Byte by byte, each in a segment of its own.
    Drip(Vec<u8>),
    /// In two segments.
    Cut(Vec<u8>, usize),
    Sleep(u64),
    /// FIN.
    Shut,
    /// RST.
    Reset,
    /// Reads until the client ends the connection.
    Drain,
}

pub(crate) fn send(text: &str) -> Do {
    Do::Send(text.as_bytes().to_vec())
}

/// A response with that body.
pub(crate) fn ok(body: &str) -> Do {
    send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// A server with one script for each connection that is made to it.
pub(crate) struct Script {
    pub(crate) addr: SocketAddr,
    thread: JoinHandle<Vec<String>>,
}

impl Script {
    pub(crate) fn start(conns: Vec<Vec<Do>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            // Each on a thread of its own: connections overlap.
            let served: Vec<_> = conns
                .into_iter()
                .map(|script| {
                    let (stream, _) = listener.accept().unwrap();
                    std::thread::spawn(move || play(stream, script))
                })
                .collect();
            served.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        Self { addr, thread }
    }

    pub(crate) fn one(script: impl IntoIterator<Item = Do>) -> Self {
        Self::start(vec![script.into_iter().collect()])
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.addr)
    }

    /// What was received on each connection.
    pub(crate) fn received(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn play(mut stream: TcpStream, script: Vec<Do>) -> String {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut received = Vec::new();
    for step in script {
        match step {
            Do::Read => read_request(&mut stream, &mut received),
            Do::ReadBytes(n) => {
                while received.len() < n && read_some(&mut stream, &mut received) > 0 {}
            }
            // The client may be gone already.
            Do::Send(bytes) => drop(stream.write_all(&bytes)),
            Do::Drip(bytes) => {
                for byte in bytes {
                    let _ = stream.write_all(&[byte]);
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            Do::Cut(bytes, at) => {
                let _ = stream.write_all(&bytes[..at]);
                std::thread::sleep(Duration::from_millis(2));
                let _ = stream.write_all(&bytes[at..]);
            }
            Do::Sleep(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Do::Shut => drop(stream.shutdown(std::net::Shutdown::Write)),
            Do::Reset => {
                crate::linger::linger_zero(&stream);
                return String::from_utf8_lossy(&received).into_owned();
            }
            Do::Drain => while read_some(&mut stream, &mut received) > 0 {},
        }
    }
    String::from_utf8_lossy(&received).into_owned()
}

fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> usize {
    let mut piece = [0; 16_384];
    let n = stream.read(&mut piece).unwrap_or(0);
    into.extend_from_slice(&piece[..n]);
    n
}

fn read_request(stream: &mut TcpStream, received: &mut Vec<u8>) {
    let from = received.len();
    loop {
        let new = &received[from..];
        if let Some(end) = new.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&new[..end]).to_ascii_lowercase();
            let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let len: usize = len.map_or(0, |len| len.parse().unwrap());
            if new.len() >= end + 4 + len {
                return;
            }
        }
        if read_some(stream, received) == 0 {
            return;
        }
    }
}
