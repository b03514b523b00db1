//! The QUIC endpoint, with a certificate of its own: everything that comes is echoed.

use std::collections::HashSet;
use std::error::Error;
use std::io::{Write as _, stdout};

use zero_io::{ConnId, Event, Protocol, QuicListenConfig, Sender, TlsServerConfig};

use super::echo::Echo;
use super::host::{Host, on};

#[derive(Default)]
pub(super) struct Quic {
    echo: Echo,
    conns: HashSet<ConnId>,
}

impl Quic {
    /// Listens, and says how to try it.
    pub(super) fn listen(host: &mut Host) -> Result<(), Box<dyn Error>> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key = made.signing_key.serialize_pem();
        let tls = TlsServerConfig::from_pem_bytes(made.cert.pem(), key).build()?;
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let config = |port| QuicListenConfig::new(at(port), tls.clone());
        let addr = on!(host, io => {
            let endpoint =
                io.quic_listen_with(config(7443)).or_else(|_| io.quic_listen_with(config(0)))?;
            io.local_addr(endpoint)?
        });
        writeln!(
            stdout(),
            "QUIC echo              echo hello | cargo run --release --features quic --example \
             quic_client {addr}"
        )?;
        Ok(())
    }

    /// Whether it was an event of a QUIC connection.
    pub(super) fn on_event(&mut self, sender: &mut Sender<'_>, event: &Event<'_>) -> bool {
        let (Event::Connected { conn, .. }
        | Event::StreamFrame { conn, .. }
        | Event::ReadClosed { conn, .. }
        | Event::Writable { conn, .. }
        | Event::StreamReset { conn, .. }
        | Event::StopSending { conn, .. }
        | Event::Datagram { conn, .. }
        | Event::Disconnected { conn, .. }) = *event
        else {
            return false;
        };
        if let Event::Connected { protocol: Protocol::Quic, .. } = event {
            self.conns.insert(conn);
        }
        let is_ours = match event {
            Event::Disconnected { .. } => self.conns.remove(&conn),
            _ => self.conns.contains(&conn),
        };
        if is_ours {
            self.echo.on_event(sender, event);
        }
        is_ours
    }
}
