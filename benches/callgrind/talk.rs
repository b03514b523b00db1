//! Two shards in a simulated world, which talk until enough was said.

use zero_io::sim::{Faults, World};
use zero_io::{Config, EndpointId, Io, Result, Toggle};

const CONNECTIONS: usize = 64;
const ROUNDS_MAX: u64 = 10_000_000;

/// A client with 64 connections to what `listen` opens at a server. `turn` is called with the one
/// and the other in turns, and adds to its figure what was said, until the client's is `enough`.
pub(crate) fn talk(
    enough: u64,
    listen: impl FnOnce(&mut Io) -> Result<EndpointId>,
    turn: impl Fn(&mut Io, &mut u64),
) {
    let world = World::new(1, Faults::none());
    let config = Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.max_connections = CONNECTIONS;
    });
    let mut server = Io::in_world(config.clone(), &world).expect("a server");
    let mut client = Io::in_world(config, &world).expect("a client");
    let listener = listen(&mut server).expect("listen");
    let addr = server.local_addr(listener).expect("bound").inet().expect("an IP address");
    for _ in 0..CONNECTIONS {
        client.tcp_connect(addr).expect("room for all");
    }
    let mut said = 0;
    for _ in 0..ROUNDS_MAX {
        turn(&mut server, &mut 0);
        turn(&mut client, &mut said);
        if said >= enough {
            return;
        }
        assert!(world.advance_to_next(), "the conversation stopped");
    }
    panic!("too many rounds");
}
