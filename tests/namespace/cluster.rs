//! A cluster, and its clients beyond a wire: in a network of their own, whose addresses change.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process;
use std::time::Duration;

use zero_io::FleetStats;

use crate::net::{HERE_V4, Namespace, ip, slower};
use crate::site::{Site, config, local};

/// The networks on both ends of the wire; sockets are of the one that the thread is in.
struct Ends {
    here: File,
    there: File,
}

impl Ends {
    /// Gives the far end of the wire to another network.
    fn part() -> Self {
        let here = own_network();
        // SAFETY: the call takes no pointers.
        let answer = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert!(answer == 0, "unshare: {}", std::io::Error::last_os_error());
        let ends = Self { here, there: own_network() };
        enter(&ends.here);
        let fd = ends.there.as_raw_fd();
        ip(&format!("link set far netns /proc/{}/fd/{fd}", process::id()));
        // Here somebody answers.
        ip("link set near arp on");
        ends.there(|| {
            ip("link set lo up");
            ip("link set far arp on");
            ip("link set far up");
            // Addresses come and go, and the way stays.
            ip("route add 10.77.0.0/24 dev far");
        });
        ends
    }

    /// Does something in the other network.
    fn there<R>(&self, work: impl FnOnce() -> R) -> R {
        enter(&self.there);
        let result = work();
        enter(&self.here);
        result
    }

    /// The clients' network has that address, and not the other one.
    fn change(&self, from: Option<&str>, to: &str) {
        self.there(|| {
            ip(&format!("address add {to}/32 dev far"));
            from.map(|from| ip(&format!("address del {from}/32 dev far")));
        });
    }
}

fn own_network() -> File {
    File::open("/proc/thread-self/ns/net").expect("/proc")
}

fn enter(network: &File) {
    // SAFETY: the call takes no pointers, and the descriptor is open.
    let answer = unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) };
    assert!(answer == 0, "setns: {}", std::io::Error::last_os_error());
}

#[test]
fn quic_clients_whose_address_changes_are_found() {
    const ROUNDS: usize = 12;
    let _net = Namespace::enter(&[]);
    let ends = Ends::part();
    let mut site = Site::at(&format!("{HERE_V4}:4711"), config(4), |_| ());
    let mut address = "10.77.0.100".to_owned();
    ends.change(None, &address);
    let tls = site.client_tls();
    let at = ends.there(|| site.dial(site.addr, tls, |_| ()));
    site.until("Connected", |site| site.clients[at].is_connected);
    site.echo(at, 100_000);
    let accepted = site.each(|shard| shard.accepted);
    let owner = accepted.iter().position(|count| *count > 0).expect("one of them");
    let before = local(&mut site.clients[at]);
    for round in 1..=ROUNDS {
        let next = format!("10.77.0.{}", 100 + round);
        ends.change(Some(&address), &next);
        ends.there(|| site.clients[at].rebind(&next));
        // In the middle of a transfer, and at rest.
        site.echo(at, 300_000);
        site.run_for(Duration::from_millis(20) * slower());
        let moves = &site.shard(owner).moves;
        assert_eq!(moves.len(), round, "told once");
        assert_eq!(moves[round - 1].2.ip().to_string(), next);
        address = next;
    }
    let stats = site.fleet();
    assert!(stats.forwarded_in > 0, "{stats:?} from {before} on");
    let FleetStats { forward_full, forward_down, forward_too_long, .. } = stats;
    assert_eq!((forward_full, forward_down, forward_too_long), (0, 0, 0));
    site.all_home();
}
