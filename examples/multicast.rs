#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! Speaks to a multicast group and hears who else does:
//! `cargo run --release --example multicast -- 239.255.77.1:7700`, in two terminals.
//! A second argument ends it after so many datagrams were heard.
//!
//! It stays on this machine: the interface is the loopback.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use zero_io::{Config, Event, Io, MulticastGroup, UdpEndpointConfig};

const EVERY: Duration = Duration::from_millis(200);
const SPEAK: u64 = 1;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let group: SocketAddrV4 = args.next().as_deref().unwrap_or("239.255.77.1:7700").parse()?;
    let heard_max: u64 = args.next().map_or(Ok(u64::MAX), |n| n.parse())?;
    let interface = Ipv4Addr::LOCALHOST;

    let mut io = Io::new(Config::default())?;
    // Bound to the group itself: other datagrams for this port do not come here.
    let config = UdpEndpointConfig::new(SocketAddr::V4(group)).with(|c| {
        c.reuseaddr = true;
        c.multicast_interface_v4 = Some(interface);
    });
    let endpoint = io.udp_bind_with(config)?;
    io.multicast_join(endpoint, MulticastGroup::AnySource { group: *group.ip(), interface })?;
    println!("listening on {group}");

    let hello = format!("hello from process {}", std::process::id());
    let mut heard = 0;
    io.timer_set(Duration::ZERO, SPEAK)?;
    while heard < heard_max {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Timer { token: SPEAK, .. } => {
                    sender.udp_send_bytes(endpoint, SocketAddr::V4(group), hello.as_bytes())?;
                    sender.timer_set(EVERY, SPEAK)?;
                }
                Event::UdpRecv { from, data, .. } => {
                    heard += 1;
                    println!("{from}: {}", String::from_utf8_lossy(data));
                }
                _ => {}
            }
        }
    }
    io.multicast_leave(endpoint, MulticastGroup::AnySource { group: *group.ip(), interface })?;
    Ok(())
}
