//! Faults on the real kernel: peers that vanish, stall or misbehave, limits that are reached, and
//! an application that asks for the impossible.
//!
//! Role: what only the kernel can do to the engine; the simulator does the rest. A test named
//! `hazard_NN_..` holds the line against the hazard of that number. *Invariants*: every wait has a
//! limit, and what was opened is idle again at the end.

#![cfg(feature = "tcp")]

mod churn;
mod closing;
mod datagrams;
mod debugging;
mod fair;
mod lifetime;
mod limits;
#[path = "../common/linger.rs"]
mod linger;
mod pressure;
mod reset;
mod sending;
#[path = "../common/silent.rs"]
mod silent;
mod slow;
mod timers;
mod world;
