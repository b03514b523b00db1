//! The classic programs of clusters, by the interpreter.

use crate::config::cover::Speck;
use crate::sim::classic_run::{View, run};
use crate::sys::steer::tests::kit::{Header, KEY, cid, light, packet, plan, random};
use crate::sys::steer::{By, Plan, ShardSet, classic};

const SPREAD: u32 = u32::MAX;

/// An IPv4 header and the ports behind it.
fn ipv4(host: u32, port: u16) -> Vec<u8> {
    let mut header = vec![0x45; 28];
    header[12..16].copy_from_slice(&host.to_be_bytes());
    header[20..22].copy_from_slice(&port.to_be_bytes());
    header
}

fn ipv6(host: u32, port: u16) -> Vec<u8> {
    let mut header = vec![0x60; 48];
    header[20..24].copy_from_slice(&host.to_be_bytes());
    header[40..42].copy_from_slice(&port.to_be_bytes());
    header
}

/// All 16,384 ids for every number of shards that a cluster can have, in both headers, clear and
/// covered. Who is open is nobody, so that what is spread shows.
#[test]
fn every_slot() {
    let network = ipv4(0x7F00_0001, 4433);
    for by in [By::Cid(None), light()] {
        for shard_bits in 0..=10 {
            let server_id = (1 << (14 - shard_bits)) - 3;
            let program =
                classic(&Plan { open: ShardSet::EMPTY, ..plan(shard_bits, server_id, by) });
            for id in 0..1 << 14 {
                let cid = cid(by, id, random(id.into()));
                let ours = id >> shard_bits == server_id;
                let shard = u32::from(id & ((1 << shard_bits) - 1));
                for header in [Header::Short, Header::Long] {
                    let payload = packet(header, &cid);
                    let view = View { network: &network, payload: &payload, cpu: 0 };
                    let expected = if ours { shard } else { SPREAD };
                    assert_eq!(run(program.insns(), &view), expected, "{id:#x} of {shard_bits}");
                }
            }
        }
    }
}

/// Whatever the cover's keys and the random bytes are.
#[test]
fn covers_come_off() {
    let mut rng = crate::rng::Rng::from_seed(11);
    for _ in 0..200 {
        let speck = Speck::new(std::array::from_fn(|_| rng.u64() as u16));
        let by = By::Cid(Some(*speck.round_keys()));
        let program = classic(&plan(6, 7, by));
        for _ in 0..20 {
            let block = (rng.u64() as u32).to_be_bytes();
            let shard = rng.below(64) as u16;
            let first = 1 << 14 | ((7 << 6 | shard) ^ speck.encrypt(block) as u16 & 0x3FFF);
            let [a, b] = first.to_be_bytes();
            let cid = [&[a, b, 0x33][..], &block, &[1, 2, 3]].concat();
            let payload = packet(Header::Short, &cid);
            let view = View { network: &[], payload: &payload, cpu: 0 };
            assert_eq!(run(program.insns(), &view), u32::from(shard));
        }
    }
    assert_ne!(Speck::new(KEY), Speck::new([0; 4]));
}

/// Both families are spread evenly, wherever the addresses differ.
#[test]
fn the_spread_is_even() {
    type Peer = fn(u32) -> (u32, u16);
    const PEERS: [Peer; 4] = [
        |n| (0x7F00_0001, 32_768 + n as u16),
        |n| (0x7F00_0001, 32_768 + 2 * n as u16),
        |n| (0x0A00_0000 + n, 4433),
        |n| (0x0A00_0001 + (n << 8), 50_000),
    ];
    for headers in [ipv4, ipv6] {
        for shard_bits in [1, 3, 6] {
            let program = classic(&plan(shard_bits, 0, By::Spread));
            for peer in PEERS {
                let mut counts = vec![0; 1 << shard_bits];
                for number in 0..8192 {
                    let (host, port) = peer(number);
                    let network = headers(host, port);
                    let view = View { network: &network, payload: &[], cpu: 0 };
                    counts[run(program.insns(), &view) as usize] += 1;
                }
                let even = 8192 >> shard_bits;
                let (low, high) = (even * 6 / 10, even * 14 / 10);
                assert!(counts.iter().all(|n| (low..high).contains(n)), "{counts:?}");
            }
        }
    }
}

/// Flows stay where they are when a shard closes that is not theirs, and come back when it opens.
#[test]
fn flows_of_the_open_stay() {
    let whole = plan(4, 0, By::Spread);
    let all = classic(&whole);
    for closed in [&[3][..], &[0, 1, 2], &[0, 2, 4, 6, 8, 10, 12, 14, 15]] {
        let open = closed.iter().fold(whole.open, |open, shard| open.without(*shard));
        let fewer = classic(&Plan { open, ..whole.clone() });
        let mut taken_over = [0; 16];
        for number in 0..4096 {
            let network = ipv6(0x0102_0304, number);
            let view = View { network: &network, payload: &[], cpu: 0 };
            let (before, after) = (run(all.insns(), &view), run(fewer.insns(), &view));
            assert!(open.contains(after as u16), "{after}");
            match open.contains(before as u16) {
                true => assert_eq!(before, after),
                false => taken_over[after as usize] += 1,
            }
        }
        let heirs = open.iter().map(|shard| taken_over[usize::from(shard)]);
        assert!(heirs.clone().all(|count| count > 0), "{:?}", heirs.collect::<Vec<_>>());
    }
}

/// Who is dead gets nothing that names him, among up to a thousand others.
#[test]
fn the_dead_get_nothing() {
    let gaps = (0..1024).filter(|shard| shard % 5 != 2).collect::<Vec<_>>();
    for dead in [&[0][..], &[1023], &[5, 6, 7, 9], &[0, 2, 4, 1021], &gaps] {
        let mut plan = plan(10, 9, By::Cid(None));
        plan.alive = dead.iter().fold(plan.alive, |alive, shard| alive.without(*shard));
        plan.open = ShardSet::EMPTY;
        let program = classic(&plan);
        for shard in 0..1024 {
            let payload = packet(Header::Short, &cid(plan.by, 9 << 10 | shard, random(3)));
            let view = View { network: &[0x45; 28], payload: &payload, cpu: 0 };
            let expected = if dead.contains(&shard) { SPREAD } else { shard.into() };
            assert_eq!(run(program.insns(), &view), expected);
        }
    }
}

#[test]
fn processors_have_their_shards() {
    let mut plan = plan(2, 0, By::Cpu);
    plan.cpus = vec![(8, 0), (9, 1), (10, 2)];
    let ask = |plan: &Plan, cpu| {
        let network = ipv4(1, 2);
        run(classic(plan).insns(), &View { network: &network, payload: &[], cpu })
    };
    for (cpu, shard) in [(8, 0), (9, 1), (10, 2), (11, 3), (3, 3), (1025, 1)] {
        assert_eq!(ask(&plan, cpu), shard);
    }
    plan.open = plan.open.without(1);
    assert!([0, 2, 3].contains(&ask(&plan, 9)) && ask(&plan, 10) == 2);
    plan.open = ShardSet::EMPTY;
    assert_eq!(ask(&plan, 8), SPREAD);
}
