//! Target `engine`: the input is a world and a script of calls for two `Io`s in it.
//!
//! Held: no call panics whatever it is given; no breach of the contract with the kernel; every
//! stream is a prefix of what was sent, and every datagram what somebody sent; each connection has
//! one `Disconnected` and nothing but `SendDone` after it; each guard that was taken has one
//! `SendDone`; and once faults are off and everything is closed, every buffer and descriptor comes
//! home.

mod extras;
mod node;

use crate::input::Input;
use node::Node;
use std::time::Duration;
use zero_io::sim::{Faults, World};

/// Calls of one script.
const CALLS_MAX: usize = 400;
/// Rounds in which the world must come to rest.
const REST_ROUNDS_MAX: usize = 60_000;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let faults = if input.byte() < 64 { Faults::none() } else { Faults::from_seed(input.number()) };
    let world = World::new(input.number(), faults);
    let mut nodes: Vec<Node> = (0..2).map(|index| Node::new(index, &world, &mut input)).collect();
    for _ in 0..CALLS_MAX {
        if input.rest().is_empty() {
            break;
        }
        let node = &mut nodes[usize::from(input.byte() & 1)];
        node.call(&world, &mut input);
        check_contract(&world);
    }
    rest(&world, nodes);
}

/// Ends everything, and checks that nothing is left.
fn rest(world: &World, mut nodes: Vec<Node>) {
    world.heal();
    nodes.iter_mut().for_each(|node| node.end(world));
    for round in 0.. {
        assert!(round < REST_ROUNDS_MAX, "the world does not come to rest\n{}", world.trace());
        for node in &mut nodes {
            node.tick();
        }
        check_contract(world);
        let is_closed = |index| world.open_fds(index) == 0 && world.open_slots(index) == 0;
        if (0..nodes.len()).all(|index| is_closed(index) && nodes[index].is_idle()) {
            break;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
    nodes.iter().for_each(Node::check_ended);
    drop(nodes);
    // What was sent last may still be on its way.
    world.advance_by(Duration::from_secs(3_600));
    assert_eq!(world.files(), 0, "files");
    check_contract(world);
}

fn check_contract(world: &World) {
    let violations = world.violations();
    assert!(violations.is_empty(), "{violations:?}\n{}", world.trace());
}

/// Byte `at` of every stream and of every datagram, so that a prefix can be told from anything
/// else.
fn pattern(at: u64) -> u8 {
    ((at ^ at >> 8).wrapping_mul(0x9d) >> 1) as u8
}
