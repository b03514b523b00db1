//! What the zero-io QUIC server and load generator share: the settings that the peers' servers have, and knobs.
use zero_io::{AckFrequency, Config, DatagramsFull, MtuDiscovery, QuicDatagrams, QuicTransport};

/// What `quinn-server` sets: many streams, large windows and queues of datagrams.
pub fn transport() -> QuicTransport {
    QuicTransport::default().with(|t| {
        t.max_bidi_streams = 1024;
        t.send_window = 8 << 20;
        let mut datagrams = QuicDatagrams::default();
        datagrams.recv_bytes = 4 << 20;
        datagrams.send_bytes = 4 << 20;
        datagrams.when_full = DatagramsFull::Refuse;
        t.datagrams = Some(datagrams);
    })
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("a number, not {text:?}"))
}

/// Sets one knob of a connection; false if there is none of that name.
pub fn knob(transport: &mut QuicTransport, knob: &str, value: &str) -> bool {
    match knob {
        "mtu" => {
            let mut discovery = MtuDiscovery::default();
            discovery.max = number(value);
            transport.mtu_discovery = Some(discovery);
        }
        "streams" => transport.max_bidi_streams = number(value),
        "uni" => transport.max_uni_streams = number(value),
        "imtu" => transport.initial_mtu = number(value),
        "sw" => transport.stream_window = number(value),
        "cw" => transport.conn_window = number(value),
        "send" => transport.send_window = number(value),
        "ack" => {
            let mut frequency = AckFrequency::default();
            frequency.threshold = number(value);
            transport.ack_frequency = Some(frequency);
        }
        "fair" => transport.fair = value == "on",
        _ => return false,
    }
    true
}

/// Sets one knob of the engine that QUIC alone has; false if there is none of that name.
pub fn engine_knob(config: &mut Config, knob: &str, value: &str) -> bool {
    match knob {
        "qbufs" => config.quic_recv_buffers = number(value),
        "qcells" => config.quic_send_cells = number(value),
        _ => return false,
    }
    true
}
