//! Hazards that the simulated kernel can force, through the engine. The numbers are those of
//! docs/HAZARDS.md.

use std::sync::Arc;
use std::time::Duration;

use zero_io::sim::{Fault, Faults, NOTIFICATION_LATE_MAX, World};
use zero_io::{Config, SendOutcome};

use crate::nth;
use crate::stage::{PATIENCE, STREAM, Stage};

const SEEDS: u64 = 20;

fn config() -> Config {
    nth::config().with(|c| {
        c.stream_buffer_count = 64;
        c.uring.zero_copy_min = 1_024;
    })
}

/// Bytes that no other tenant has.
fn text(tenant: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| ((n * 7 + tenant * 37) % 251) as u8).collect()
}

/// Notifications of zero-copy sends come when their connections are long gone, and others live in
/// the only place of the table.
#[test]
fn hazard_17_a_late_notification_finds_another_tenant() {
    const TENANTS: u64 = 5;
    const LEN: usize = 5_000;
    for seed in 0..SEEDS {
        let world = World::new(seed, Faults::none().with(Fault::ZcLate, 1_000_000));
        let config = config().with(|c| c.max_connections = 1);
        let mut stage = Stage::simulated(&[config.clone(), config], world.clone());
        stage.echoes[0] = true;
        let (listener, addr) = stage.listen(0);
        let mut tenants = Vec::new();
        for tenant in 0..TENANTS {
            let [server, client] = stage.connect(addr);
            let memory: Arc<[u8]> = text(tenant, LEN).into();
            stage.ios[1].stream_write_guard(client, STREAM, memory, tenant).expect("room");
            stage.ios[1].close_graceful(client, PATIENCE).expect("open");
            stage.until("the echo, and both ends", |stage| {
                !stage.ends(1, client).is_empty() && !stage.ends(0, server).is_empty()
            });
            assert!(stage.data(1, client) == text(tenant, LEN), "seed {seed}, tenant {tenant}");
            tenants.push((server, client));
        }
        assert!(!stage.ios[1].is_idle(), "no notification was late");
        // The last one sends nothing that is zero-copy, and all notifications come while it lives.
        let [server, client] = stage.connect(addr);
        for round in 0..10 {
            let piece = text(round, 100);
            assert_eq!(stage.ios[1].stream_write(client, STREAM, &piece), Ok(100));
            stage.pass(NOTIFICATION_LATE_MAX / 9);
        }
        let said: Vec<u8> = (0..10).flat_map(|round| text(round, 100)).collect();
        assert!(stage.data(1, client) == said, "seed {seed}");
        assert!(stage.ends(1, client).is_empty() && stage.ends(0, server).is_empty());
        tenants.push((server, client));
        check_tenants(&stage, &tenants, LEN);

        stage.ios[1].close_graceful(client, PATIENCE).expect("open");
        stage.ios[0].endpoint_close(listener).expect("open");
        stage.until_idle();
        assert_eq!(stage.ends(1, client), [(0, true)]);
        assert_eq!(world.violations(), [""; 0], "seed {seed}");
    }
}

/// All in one place, under ids of their own; each guard write is told once, to who gave it.
fn check_tenants(stage: &Stage, tenants: &[(zero_io::ConnId, zero_io::ConnId)], len: usize) {
    let (servers, clients): (Vec<_>, Vec<_>) = tenants.iter().copied().unzip();
    for ids in [servers, clients.clone()] {
        assert!(ids.iter().all(|id| id.as_u64() as u32 == ids[0].as_u64() as u32), "{ids:?}");
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    }
    let mut done = stage.done(1);
    done.sort_by_key(|done| done.1);
    let given = clients.iter().take(clients.len() - 1).zip(0..);
    let given: Vec<_> = given.map(|(id, token)| (*id, token, len, SendOutcome::Sent)).collect();
    assert_eq!(done, given);
}

/// A completion queue of 8 entries overflows all the time: receives end, and are armed again.
#[test]
fn hazard_42_receives_that_an_overflow_ended_go_on() {
    const CLIENTS: u64 = 12;
    const LEN: usize = 40_000;
    for seed in 0..SEEDS {
        let small = Faults::none().shaped(|s| {
            (s.sq_entries, s.cq_entries) = (4, 8);
            s.segment_len_max = 1_460;
        });
        let world = World::new(seed, small);
        let config = config().with(|c| c.max_connections = 16);
        let mut stage = Stage::simulated(&[config.clone(), config], world.clone());
        stage.echoes[0] = true;
        let (listener, addr) = stage.listen(0);
        let clients: Vec<_> = (0..CLIENTS).map(|_| stage.connect(addr)[1]).collect();
        for (client, number) in clients.iter().zip(0..) {
            let memory: Arc<[u8]> = text(number, LEN).into();
            stage.ios[1].stream_write_guard(*client, STREAM, memory, number).expect("room");
            stage.ios[1].shutdown_write(*client, STREAM).expect("open");
        }
        stage.until("all echoes", |stage| {
            // Much has happened at each poll.
            world.advance_by(Duration::from_millis(1));
            clients.iter().all(|client| stage.is_read_closed(1, *client))
        });
        for (client, number) in clients.iter().zip(0..) {
            assert!(stage.data(1, *client) == text(number, LEN), "seed {seed}, client {number}");
        }
        stage.until("all ends", |stage| {
            clients.iter().all(|client| stage.ends(1, *client) == [(0, true)])
        });
        let overflows = [0, 1].map(|node| world.overflows(node));
        assert!(overflows.iter().all(|count| *count >= 5), "{overflows:?}");
        stage.ios[0].endpoint_close(listener).expect("open");
        stage.until_idle();
        stage.pass(Duration::from_secs(1));
        assert_eq!(world.violations(), [""; 0], "seed {seed}");
    }
}
