//! What the targets with two `Io`s in one world share.

use zero_io::{Config, Toggle};

/// Small, and the same for everybody: how much there is of what depends on no byte.
pub(crate) fn small(max_connections: usize) -> Config {
    Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.pool_slot_count = 256;
        c.handle_reserve_count = 0;
        c.stream_buffer_count = 64;
        c.stream_buffer_size = 4_096;
        c.gro_buffer_count = 0;
        c.jumbo_count = 2;
        c.jumbo_size = 65_536;
        c.max_connections = max_connections;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    })
}
