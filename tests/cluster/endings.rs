//! How the threads of a cluster end.

use std::net::TcpStream;
use std::time::Duration;

use zero_io::{DrainOptions, Event, IoCluster, IoError, ShardExit, Supervised};

use crate::kit::{LONG, Running, config, serve};

#[test]
fn a_panic_and_a_failure_are_told_and_hurt_nobody_else() {
    let cluster = IoCluster::new(config(4)).unwrap();
    let running = Running::start(cluster, |shard| match shard.shard() {
        0 => panic!("on purpose"),
        1 => Err(IoError::DnsError),
        _ => serve(shard, |_, _| {}),
    });
    // The others can still be reached.
    for shard in [2, 3] {
        while running.handle.post_to(shard, 1).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    for shard in [0, 1] {
        while running.handle.post_to(shard, 1) != Err(IoError::ShardDown { shard }) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    running.handle.shutdown(DrainOptions::default()).unwrap();
    let exits = running.end().shards.into_iter().map(|report| report.exit).collect::<Vec<_>>();
    let panicked = ShardExit::Panicked("on purpose".into());
    let failed = ShardExit::Failed(IoError::DnsError);
    assert_eq!(exits, [panicked, failed, ShardExit::Done, ShardExit::Done]);
}

#[test]
fn a_shutdown_before_the_shards_are_grown_is_found_by_them() {
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let seeds = cluster.seeds().unwrap();
    cluster.handle().shutdown(DrainOptions::default()).unwrap();
    assert!(matches!(cluster.supervise(Duration::ZERO), Ok(Supervised::Idle)));
    for seed in seeds {
        let mut shard = seed.grow().unwrap();
        assert!(shard.is_running());
        shard.poll(LONG).unwrap();
        assert!(matches!(shard.next_event(), Some(Event::Draining { .. })));
        assert!(!shard.is_running());
    }
    assert!(matches!(cluster.supervise(LONG), Ok(Supervised::Over)));
}

#[test]
fn a_seed_that_was_dropped_is_a_shard_that_is_down() {
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let mut seeds = cluster.seeds().unwrap();
    let handle = cluster.handle();
    for shard in [0, 1] {
        assert_eq!(handle.post_to(shard, 1), Err(IoError::ShardDown { shard }));
    }
    drop(seeds.remove(0));
    let _other = seeds.remove(0).grow().unwrap();
    assert_eq!(handle.post_to(0, 1), Err(IoError::ShardDown { shard: 0 }));
    handle.post_to(1, 1).unwrap();
    // Nor does it stop what the others are told.
    cluster.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    handle.shutdown(DrainOptions::default()).unwrap();
}

#[test]
fn threads_have_the_names_of_their_shards() {
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let endpoint = cluster.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let running = Running::start(cluster, |shard| {
        let name = format!("shard-{}", shard.shard());
        assert_eq!(std::thread::current().name(), Some(&*name));
        serve(shard, |_, _| {})
    });
    running.wait_until_up();
    drop(TcpStream::connect(addr).unwrap());
    running.shut_down();
}
