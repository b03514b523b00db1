//! The connection ids that docs/CLUSTER.md shows to authors of load balancers.

use zero_io::ScidGenerator;

const DOCUMENT: &str = include_str!("../../docs/CLUSTER.md");

/// The rows of the table: bits of shards, server, shard, the first two bytes.
fn rows() -> Vec<(u32, u16, u16, u16)> {
    let head = "| `shard_bits` | `server_id` | shard | id begins |\n|---|---|---|---|\n";
    let (_, table) = DOCUMENT.split_once(head).expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let begins = u16::from_str_radix(cells[3].trim_matches('`'), 16).unwrap();
        (cells[0].parse().unwrap(), cells[1].parse().unwrap(), cells[2].parse().unwrap(), begins)
    };
    table.lines().map(row).collect()
}

#[test]
fn documented_ids_are_as_they_are_made() {
    let rows = rows();
    assert_eq!(rows.len(), 9);
    for (shard_bits, server, shard, begins) in rows {
        let ids = ScidGenerator::new(server, shard, shard_bits).unwrap();
        let random = [0xA0, 0xA1, 0xA2, 0xA3, 0xA4];
        let made = ids.encode(random);
        assert_eq!(made[..2], begins.to_be_bytes());
        assert_eq!(made[2..], random);
        // Any shard of any server, and a balancer, reads them; the MAC is not looked at.
        let reader = ScidGenerator::new(0, 0, shard_bits).unwrap();
        let whole = [&made[..], &[1, 2, 3]].concat();
        assert_eq!(reader.decode(&whole), Some((server, shard)));
        // What is none: another length, or other first bits.
        assert_eq!(reader.decode(&whole[..9]), None);
        assert_eq!(reader.decode(&[&whole[..], &[4]].concat()), None);
        for code in [0x40, 0x80, 0xC0] {
            let mut other = whole.clone();
            other[0] |= code;
            assert_eq!(reader.decode(&other), None);
        }
    }
}
