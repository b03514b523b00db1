//! The simulated kernel and network behind `Ring::Sim`.
//!
//! Role: stand in for Linux, deterministically from a seed and in virtual time, as unfriendly as
//! the contract K1.. (docs/KERNEL.md) allows, and record every breach of that contract. Not role:
//! driving an engine (tests/sim/ does), being fast.
//!
//! *Invariants*: nothing here reads a clock, entropy or an address order; the same seed and the
//! same calls give the same answers. Nothing here blocks.
//!
//! ```text
//! World ── Rc ──┬── Kernel: clock, chance, schedule, files, nodes, records
//! SimRing ──────┘     submit (operations)  complete (completions)
//! SimRing (per node)  stream  listen  udp  net  groups (sockets and network)  hosts
//! SimPorts (per cluster)
//! ```

pub(crate) mod classic_run;
mod complete;
mod fault;
mod file;
mod groups;
mod hosts;
mod kernel;
mod listen;
mod mem;
mod net;
mod node;
pub(crate) mod ports;
mod ring;
mod stream;
mod submit;
#[cfg(test)]
mod tests;
mod trace;
mod udp;
mod world;

pub use fault::{Fault, Faults, NOTIFICATION_LATE_MAX, PPM, Shape};
pub(crate) use ring::SimRing;
pub use world::World;
