#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! STARTTLS as in SMTP (RFC 3207), the server's side: `cargo run --features tls --example starttls
//! -- 127.0.0.1:2525 [CERT KEY]`. Try it with `openssl s_client -starttls smtp -connect
//! 127.0.0.1:2525`.

use std::time::Duration;

use zero_io::{Config, MessageKind, TcpListenConfig};
use zero_io::{ConnId, Event, Frame, Framing, Io, Result, Sender, StreamId, TlsServerConfig};

const LINES: Framing = Framing::new(MessageKind::User(1), |bytes| {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => Frame::Ready(at + 1),
        None => Frame::Need(bytes.len() + 1),
    }
})
.with_len_max(1000);

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let addr = args.first().map_or("127.0.0.1:2525", String::as_str).parse()?;
    let tls = match args.as_slice() {
        [_, cert, key, ..] => TlsServerConfig::from_pem(cert, key).build()?,
        _ => {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            TlsServerConfig::from_pem_bytes(made.cert.pem(), made.signing_key.serialize_pem())
                .build()?
        }
    };
    let mut io = Io::new(Config::default())?;
    let lines = TcpListenConfig::new(addr).with(|c| c.framing = Some(LINES));
    let endpoint = io.tcp_listen_with(lines)?;
    println!("listening on {}", io.local_addr(endpoint)?);
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            let (conn, done) = match event {
                Event::Connected { conn, .. } => (conn, say(&mut sender, conn, "220 ready")),
                Event::StreamFrame { conn, data, .. } => {
                    (conn, answer(&mut sender, conn, data, &tls))
                }
                Event::Secured { conn, .. } => {
                    println!("{conn} is secured");
                    continue;
                }
                Event::ReadClosed { conn, .. } => {
                    (conn, sender.close_graceful(conn, Duration::ZERO))
                }
                _ => continue,
            };
            // What goes wrong ends the connection, `PlaintextPending` above all: somebody put
            // commands behind STARTTLS, to have them taken for the client's own.
            let _ = done.or_else(|_| sender.close(conn));
        }
    }
}

fn answer(io: &mut Sender<'_>, conn: ConnId, line: &[u8], tls: &TlsServerConfig) -> Result<()> {
    let is_secure = io.conn_tls_info(conn).is_ok();
    match line.trim_ascii().to_ascii_uppercase().as_slice() {
        b"STARTTLS" if !is_secure => {
            say(io, conn, "220 go ahead")?;
            io.tls_accept_upgrade(conn, tls.clone())
        }
        b"QUIT" => {
            say(io, conn, "221 bye")?;
            io.close_graceful(conn, Duration::ZERO)
        }
        [b'E', b'H', b'L', b'O', ..] if !is_secure => say(io, conn, "250-hello\r\n250 STARTTLS"),
        [b'E', b'H', b'L', b'O', ..] => say(io, conn, "250 hello, sealed"),
        _ => say(io, conn, "502 not here"),
    }
}

fn say(io: &mut Sender<'_>, conn: ConnId, line: &str) -> Result<()> {
    io.stream_write(conn, StreamId::ZERO, format!("{line}\r\n").as_bytes()).map(drop)
}
