//! What `DebugConfig` is for: freed memory that shows, and the last completions of a panic.

use std::time::Duration;

use crate::world::*;

/// Bytes of a buffer that went back to the pool are not there any more for whoever gets it next.
#[test]
fn a_freed_buffer_is_overwritten() {
    for poisons in [true, false] {
        let mut world = World::new(strict().with(|c| {
            c.pool_slot_count = 16;
            c.handle_reserve_count = 0;
            c.debug.poison_freed = poisons;
        }));
        let mut buffer = world.io.send_buffer(2048).unwrap();
        buffer.as_mut_slice().fill(0xAA);
        drop(buffer);
        world.turn(Duration::ZERO);
        let mut found = 0;
        let mut taken = Vec::new();
        while let Ok(buffer) = world.io.send_buffer(2048) {
            found += usize::from(buffer.iter().all(|byte| *byte == 0xAA));
            taken.push(buffer);
        }
        assert_eq!(found, usize::from(!poisons), "of {} buffers", taken.len());
        drop(taken);
        world.must_be_idle();
    }
}

/// A panic of the thread that has the `Io` shows what the kernel completed last.
#[test]
fn a_panic_shows_the_last_completions() {
    const NAME: &str = "debugging::a_panic_shows_the_last_completions";
    const KEPT: usize = 8;
    if is_child_of(NAME) {
        let mut world = World::new(strict().with(|c| c.debug.trace_completions = KEPT));
        world.payload = Payload::Forward;
        let (_conn, client) = world.pair();
        for n in 0..20_u8 {
            push(&client, &[n]);
            world.until("an echo", |_| look(&client) == Found::Bytes(vec![n]));
        }
        panic!("on purpose");
    }
    let output = this_test(NAME).output().unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    let head = format!("the last {KEPT} completions, oldest first:\n");
    let (_, list) = errors.split_once(&head).unwrap_or_else(|| panic!("no list in {errors}"));
    let lines = list.lines().take_while(|line| line.contains("Completion")).collect::<Vec<_>>();
    assert_eq!(lines.len(), KEPT, "{errors}");
    assert!(lines.iter().any(|line| line.contains("Recv")), "{errors}");
}
