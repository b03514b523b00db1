//! zero-io TLS echo.
//!
//! Usage: `tls-zero PORT [copy|forward] [knob=value...]`
//!
//! `forward` (default) seals what came straight from the buffer that it was opened in, `copy` writes it. Knobs:
//! `answer=BYTES` (not an echo: the same HTTP answer with so many bytes of body to whatever comes in one piece),
//! `poll=MS|max`, and those of `zero_echo::set`.
use std::time::Duration;
use zero_io::{Config, ConnId, Event, Io, Sender, StreamId, TlsServerConfig, TlsVersion};
peerkit::counting!();

/// The same for all servers: conf/nginx.conf.in, c/tls-openssl.c, tls-tokio.
fn tls() -> TlsServerConfig {
    TlsServerConfig::from_pem(peerkit::cert("cert.pem"), peerkit::cert("key.pem"))
        .versions(TlsVersion::Tls13, TlsVersion::Tls13)
        .cipher_suites(["TLS_AES_128_GCM_SHA256"])
        .key_exchange(["x25519"])
        .build()
        .expect("certificate")
}

enum Reply {
    Copy,
    Forward,
    Fixed(Vec<u8>),
}

impl Reply {
    fn fixed(bytes: &str) -> Self {
        let len: usize = bytes.parse().expect("bytes");
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n");
        Self::Fixed([head.as_bytes(), &vec![b'x'; len]].concat())
    }

    fn send(
        &self,
        sender: &mut Sender<'_>,
        conn: ConnId,
        stream: StreamId,
        data: &[u8],
    ) -> zero_io::Result<()> {
        match self {
            Self::Forward => return sender.forward(conn, stream, data),
            Self::Copy => {
                assert_eq!(sender.stream_write(conn, stream, data)?, data.len(), "no buffers")
            }
            Self::Fixed(answer) => {
                assert_eq!(sender.stream_write(conn, stream, answer)?, answer.len(), "no buffers")
            }
        }
        Ok(())
    }
}

fn main() -> zero_io::Result<()> {
    peerkit::init();
    let mut config = Config::default().with(|c| c.max_connections = 16_384);
    let mut reply = Reply::Forward;
    let mut poll_max = Duration::MAX;
    for arg in std::env::args().skip(2) {
        match arg.split_once('=') {
            None if arg == "copy" => reply = Reply::Copy,
            None if arg == "forward" => reply = Reply::Forward,
            Some(("answer", bytes)) => reply = Reply::fixed(bytes),
            Some(("poll", text)) => poll_max = zero_echo::poll_max(text),
            Some((knob, value)) if zero_echo::set(&mut config, knob, value) => {}
            _ => panic!("unknown argument {arg}"),
        }
    }
    let mut io = Io::new(config)?;
    io.tls_listen(std::net::SocketAddr::from(([127, 0, 0, 1], peerkit::port())), tls())?;
    peerkit::backend!("io_uring");
    loop {
        io.poll(poll_max)?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::StreamFrame { conn, stream, data, .. } => {
                    // A client may be gone already: then so is the connection.
                    let sent = reply.send(&mut sender, conn, stream, data);
                    let _ = sent.or_else(|_| sender.close(conn));
                }
                Event::ReadClosed { conn, .. } => {
                    let _ = sender.close_graceful(conn, Duration::ZERO);
                }
                _ => {}
            }
        }
    }
}
