//! What the zero-io echo servers share: knobs of the engine from the command line.
use std::time::Duration;
use zero_io::{Config, Spin, Toggle, UringConfig};

/// How long one poll sleeps at most: `poll=MS` or `poll=max` (the default).
pub fn poll_max(text: &str) -> Duration {
    if text == "max" { Duration::MAX } else { Duration::from_millis(number(text)) }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("a number, not {text:?}"))
}

fn toggle(text: &str) -> Toggle {
    match text {
        "on" => Toggle::On,
        "off" => Toggle::Off,
        "auto" => Toggle::Auto,
        _ => panic!("on, off or auto, not {text:?}"),
    }
}

fn spin(text: &str) -> Spin {
    match text.split_once(':').unwrap_or((text, "50")) {
        ("off", _) => Spin::Off,
        ("auto", us) => Spin::Auto { max_us: number(us) },
        ("always", us) => Spin::Always { max_us: number(us) },
        _ => panic!("off, auto[:US] or always[:US], not {text:?}"),
    }
}

fn uring(config: &mut UringConfig, knob: &str, value: &str) -> bool {
    match knob {
        "sq" => config.sq_entries = number(value),
        "cq" => config.cq_entries = number(value),
        "defer" => config.defer_taskrun = toggle(value),
        "sqarray" => config.no_sqarray = toggle(value),
        "ringfd" => config.register_ring_fd = toggle(value),
        "fixed" => config.fixed_files = toggle(value),
        "zc" => config.zero_copy_send = toggle(value),
        "zcmin" => config.zero_copy_min = number(value),
        _ => return false,
    }
    true
}

/// Sets one knob of the engine; false if there is none of that name.
pub fn set(config: &mut Config, knob: &str, value: &str) -> bool {
    match knob {
        "spin" => config.spin = spin(value),
        "slots" => config.pool_slot_count = number(value),
        "slot" => config.pool_slot_size = number(value),
        "huge" => config.huge_pages = toggle(value),
        "bufs" => config.stream_buffer_count = number(value),
        "buf" => config.stream_buffer_size = number(value),
        "gro" => config.gro_buffer_count = number(value),
        "conns" => config.max_connections = number(value),
        "events" => config.max_events_per_poll = number(value),
        "high" => config.send_high_water = number(value),
        "held" => config.held_buffers_max = number(value),
        _ => return uring(&mut config.uring, knob, value),
    }
    true
}
