//! [`Host`]: who requests are for, and what waits and idles there.

use super::lists::{List, Table};
use crate::proto::http::{HostKey, HostKind};
use crate::time::Time;

/// Connections that are alike, and the requests for them.
#[derive(Debug)]
pub(super) struct Host {
    name: Name,
    /// Requests, the oldest first.
    pub(super) waiting: List,
    /// Members, the one used last first.
    pub(super) idle: List,
    /// Members that a further request may be sent on behind others.
    pub(super) joinable: List,
    /// Members, whatever their state.
    pub(super) open: u32,
    /// Those being established.
    pub(super) dialing: u32,
    /// Which of the two lists it is in, if it waits for room.
    pub(super) is_starving: bool,
    /// Of those that wait, so many fail; and why.
    pub(super) failing: (u32, u64),
    /// No further connection is tried before.
    pub(super) paused_until: Time,
}

/// A [`HostKey`] of its own.
#[derive(Debug)]
struct Name {
    kind: HostKind,
    host: String,
    port: u16,
    hash: u32,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            name: Name { kind: HostKind::Http, host: String::new(), port: 0, hash: 0 },
            waiting: List::default(),
            idle: List::default(),
            joinable: List::default(),
            open: 0,
            dialing: 0,
            is_starving: false,
            failing: (0, 0),
            paused_until: Time::ZERO,
        }
    }
}

impl Host {
    pub(super) fn key(&self) -> HostKey<'_> {
        HostKey { kind: self.name.kind, host: &self.name.host, port: self.name.port }
    }

    /// Whether nothing is there, so that the place can be another host's.
    pub(super) const fn is_unused(&self) -> bool {
        self.open == 0 && self.waiting.is_empty()
    }

    fn is(&self, key: &HostKey<'_>, hash: u32) -> bool {
        self.name.hash == hash
            && self.name.kind == key.kind
            && self.name.port == key.port
            && self.name.host.eq_ignore_ascii_case(key.host)
    }

    fn rename(&mut self, key: &HostKey<'_>, hash: u32) {
        self.name.host.clear();
        self.name.host.push_str(key.host);
        (self.name.kind, self.name.port, self.name.hash) = (key.kind, key.port, hash);
    }
}

impl Table<Host> {
    /// The host of that name; a place for it if there is none. A host that is used has a member or
    /// a request that waits, so that there are no more places than these may be.
    pub(super) fn find(&mut self, key: &HostKey<'_>) -> u32 {
        let hash = hash(key);
        if let Some((number, _)) = self.iter().find(|(_, host)| host.is(key, hash)) {
            return number;
        }
        let unused = self.iter().find(|(_, host)| host.is_unused()).map(|(number, _)| number);
        let number = unused.unwrap_or_else(|| self.push());
        self.at_mut(number).rename(key, hash);
        number
    }
}

/// FNV-1a: to compare one number instead of a name.
fn hash(key: &HostKey<'_>) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let name = key.host.bytes().map(|byte| byte.to_ascii_lowercase());
    let rest = key.port.to_be_bytes().into_iter().chain([key.kind as u8]);
    name.chain(rest).fold(0x811C_9DC5, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_places_used_again() {
        let mut hosts = Table::<Host>::new();
        let key = |kind, host, port| HostKey { kind, host, port };
        let first = hosts.find(&key(HostKind::Http, "a.Example", 80));
        hosts.at_mut(first).open = 1;
        assert_eq!(hosts.find(&key(HostKind::Http, "A.example", 80)), first);
        let mut others = vec![first];
        for other in [
            key(HostKind::Https, "a.example", 80),
            key(HostKind::Http, "a.example", 81),
            key(HostKind::Http, "b.example", 80),
        ] {
            let number = hosts.find(&other);
            assert!(!others.contains(&number));
            hosts.at_mut(number).open = 1;
            others.push(number);
            assert_eq!(hosts.at(number).key(), other);
        }
        hosts.at_mut(first).open = 0;
        assert_eq!(hosts.find(&key(HostKind::HttpTunnel, "c", 1)), first);
        assert_eq!(hosts.len(), 4);
    }
}
