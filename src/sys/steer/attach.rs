//! [`Router`]: which program a group of sockets has, and how it is brought in line with a plan.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::extended::extended;
use super::maps::{Maps, load};
use super::{Classic, Plan, ShardSet, classic};
use crate::error::Result;
use crate::sys::socket::{NewSocket, set_option};

const ATTACH_CLASSIC: &str = "setsockopt(SO_ATTACH_REUSEPORT_CBPF)";
const ATTACH_EXTENDED: &str = "setsockopt(SO_ATTACH_REUSEPORT_EBPF)";

/// What chooses among the sockets of a group.
#[derive(Debug)]
pub(crate) enum Router {
    /// A classic program, attached anew with every change.
    Classic,
    /// An extended one, and what is in its maps once it is attached.
    Extended(Option<Box<Held>>),
}

/// What an extended program works with.
#[derive(Debug)]
pub(crate) struct Held {
    maps: Maps,
    /// Whose socket is in the map.
    present: ShardSet,
    spread: Vec<u32>,
}

impl Router {
    /// Has the sockets of a group, which are all there, chosen as planned.
    ///
    /// # Errors
    /// `Os`: what was attached before stays.
    pub(crate) fn steer(&mut self, members: &[BorrowedFd<'_>], plan: &Plan) -> Result<()> {
        match self {
            Self::Extended(Some(held)) => held.follow(members, plan),
            _ => self.reload(members, plan),
        }
    }

    /// The same, with a program that is made anew. The one before serves until it takes its place.
    ///
    /// # Errors
    /// As [`steer`](Self::steer).
    pub(crate) fn reload(&mut self, members: &[BorrowedFd<'_>], plan: &Plan) -> Result<()> {
        let Self::Extended(held) = self else {
            return attach_classic(members[0].as_raw_fd(), &classic(plan));
        };
        let mut held = match held.take() {
            Some(held) => held,
            None => Box::new(Held::new(plan)?),
        };
        let done = held.follow(members, plan).and_then(|()| held.attach(members[0], plan));
        // A socket can be in no second map: these are the ones for the next attempt too.
        *self = Self::Extended(Some(held));
        done
    }
}

impl Held {
    fn new(plan: &Plan) -> Result<Self> {
        let entries = plan.spread_table().len();
        let maps = Maps::new(plan.shards(), entries)?;
        Ok(Self { maps, present: ShardSet::EMPTY, spread: vec![u32::MAX; entries] })
    }

    /// Brings the maps in line. Who comes is there before anything is given to him, and who goes
    /// is given nothing more before he is taken out.
    fn follow(&mut self, members: &[BorrowedFd<'_>], plan: &Plan) -> Result<()> {
        for shard in plan.alive.iter().filter(|shard| *shard < plan.shards()) {
            if !self.present.contains(shard) {
                self.maps.put(shard, members[usize::from(shard)])?;
                self.present = self.present.with(shard);
            }
        }
        for (entry, shard) in plan.spread_table().into_iter().enumerate() {
            if self.spread[entry] != shard {
                self.maps.set_spread(entry as u16, shard)?;
                self.spread[entry] = shard;
            }
        }
        for shard in self.present.iter() {
            if !plan.alive.contains(shard) {
                self.maps.remove(shard)?;
                self.present = self.present.without(shard);
            }
        }
        Ok(())
    }

    fn attach(&self, member: BorrowedFd<'_>, plan: &Plan) -> Result<()> {
        let Maps { sockets, spread, entries } = &self.maps;
        let program = load(&extended(plan, sockets.as_raw_fd(), spread.as_raw_fd(), *entries))?;
        let (sol, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF);
        set_option(member.as_raw_fd(), ATTACH_EXTENDED, sol, option, &program.as_raw_fd())
    }
}

fn attach_classic(member: i32, program: &Classic) -> Result<()> {
    let (sol, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF);
    set_option(member, ATTACH_CLASSIC, sol, option, &program.for_kernel())
}

/// Whether the kernel takes the classic program of a plan.
pub(crate) fn probe_classic(plan: &Plan) -> Result<()> {
    let socket = NewSocket::new(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    socket.set("SO_REUSEPORT", libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    attach_classic(socket.fd(), &classic(plan))
}

/// Whether the kernel takes the extended one, and its maps.
pub(crate) fn probe_extended(plan: &Plan) -> Result<()> {
    let Maps { sockets, spread, entries } = Held::new(plan)?.maps;
    load(&extended(plan, sockets.as_raw_fd(), spread.as_raw_fd(), entries)).map(drop)
}
