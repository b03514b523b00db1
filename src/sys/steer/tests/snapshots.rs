//! `programs_read_as_before`: the assembly of a few plans, as it was when it was last looked at.
//! `ZERO_IO_WRITE_SNAPSHOTS=1` writes them anew; look at the difference then.

use super::kit::{light, plan};
use crate::sys::steer::extended::extended;
use crate::sys::steer::{By, ShardSet, classic};

fn check(name: &str, found: &str) {
    let path = format!("{}/src/sys/steer/snapshots/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("ZERO_IO_WRITE_SNAPSHOTS").is_some() {
        return std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(expected == found, "{path} has\n{expected}and the program is\n{found}");
}

#[test]
fn programs_read_as_before() {
    let some = ShardSet::first(8).without(1).without(4).without(5);
    let mut cpu = plan(3, 0, By::Cpu);
    cpu.cpus = vec![(2, 0), (3, 1), (9, 7)];
    let mut draining = plan(3, 5, By::Cid(None));
    (draining.open, draining.alive) = (some, some.with(1));
    let mut spread = plan(3, 0, By::Spread);
    check("spread", &classic(&spread).to_string());
    spread.open = some;
    check("spread_some", &classic(&spread).to_string());
    check("one", &classic(&plan(0, 0, By::Spread)).to_string());
    check("cpu", &classic(&cpu).to_string());
    check("clear", &classic(&plan(3, 5, By::Cid(None))).to_string());
    check("clear_some", &classic(&draining).to_string());
    check("covered", &classic(&plan(3, 5, light())).to_string());
    check("extended_clear", &extended(&plan(3, 5, By::Cid(None)), 7, 8, 256).to_string());
    check("extended_covered", &extended(&plan(3, 5, light()), 7, 8, 256).to_string());
}

/// The kernel's limit holds for whatever set of shards.
#[test]
fn the_longest_program_is_short_enough() {
    let mut longest = plan(10, 15, light());
    longest.open = (0..1024).step_by(2).fold(ShardSet::EMPTY, ShardSet::with);
    longest.alive = longest.open;
    let len = classic(&longest).insns().len();
    assert!(len < 4096, "{len}");
    longest.by = By::Cpu;
    longest.cpus = (0..1024).map(|cpu| (cpu, cpu as u16)).collect();
    assert!(classic(&longest).insns().len() < 4096);
}

/// Every shard has its part, and keeps it when others come and go.
#[test]
fn the_table_moves_what_it_must() {
    let whole = plan(2, 0, By::Cid(None));
    let table = whole.spread_table();
    for shard in 0..4 {
        assert_eq!(table.iter().filter(|owner| **owner == shard).count(), 64);
    }
    let three = crate::sys::steer::Plan { open: whole.open.without(2), ..whole.clone() };
    let two = crate::sys::steer::Plan { open: three.open.without(0), ..whole };
    let moved = three.spread_table();
    for (before, after) in table.iter().zip(&moved) {
        assert!(*before == 2 || before == after);
        assert_ne!(*after, 2);
    }
    for (before, after) in moved.iter().zip(two.spread_table()) {
        assert!(*before == 0 || *before == after, "a third one's entry moved");
    }
    for heir in [0, 1, 3] {
        let heirs = table.iter().zip(&moved).filter(|(from, to)| **from == 2 && **to == heir);
        assert!((8..40).contains(&heirs.count()));
    }
}
