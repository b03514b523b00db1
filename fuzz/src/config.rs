//! Target `config`: whatever the fields hold, `validate` answers, always the same, and names the
//! field that it refuses.

use crate::input::Input;
use zero_io::{Config, IoError, Spin};

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let config = Config::default().with(|c| {
        while !input.rest().is_empty() {
            change(c, input.byte(), &mut input);
        }
    });
    let answer = config.validate();
    assert_eq!(answer.is_ok(), config.validate().is_ok());
    if let Err(error) = answer {
        let IoError::InvalidConfig { field, .. } = error else { panic!("not a config error") };
        assert!(error.to_string().contains(field), "{error}");
    }
}

fn change(c: &mut Config, field: u8, input: &mut Input<'_>) {
    match field % 18 {
        0 => c.pool_slot_count = input.size(),
        1 => c.pool_slot_size = input.size(),
        2 => c.stream_buffer_count = input.size(),
        3 => c.stream_buffer_size = input.size(),
        4 => c.gro_buffer_count = input.size(),
        5 => c.jumbo_count = input.size(),
        6 => c.jumbo_size = input.size(),
        7 => c.handle_reserve_count = input.size(),
        8 => c.detached_max_pct = input.byte(),
        9 => c.max_connections = input.size(),
        10 => c.max_timers = input.size(),
        11 => c.max_events_per_poll = input.size(),
        12 => c.send_high_water = input.size(),
        13 => c.pool_pressure_pct = input.byte(),
        14 => c.spin = Spin::Auto { max_us: input.number() as u32 },
        15 => c.uring.sq_entries = input.number() as u32,
        16 => c.uring.cq_entries = input.number() as u32,
        _ => c.uring.zero_copy_min = input.size(),
    }
}
