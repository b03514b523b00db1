//! The classic programs: socket filters that answer with a number.
//!
//! The kernel runs them with the payload at offset 0; a load past the end would end the program
//! with 0, the first shard, so each is preceded by a look at the length.
//!
//! ```text
//! by id:  length ─▶ which header ─▶ code ─▶ (uncover) ─▶ server ─▶ alive ─▶ shard
//!            └──────────┴────────────┴──────────────────────┴────────┴────▶ spread
//! by cpu: whose processor ─▶ shard;  another's ─▶ its number ─▶ open ─▶ shard, else ▶ spread
//! spread: mix of address and port ─▶ open ─▶ shard;  else ▶ the same again, over the open ones
//! ```

use super::asm::{Alu, Asm, Classic, Label, Test, Width};
use super::{
    By, CID_LEN, COVER_AT, ID_BITS, ID_MASK, LONG_CID_AT, LONG_HEADER, PACKET_LEN_MIN, Plan,
    RoundKeys, SHORT_CID_AT, ShardSet,
};

/// Leaves the choice to the kernel's hash.
const NOBODY: u32 = u32::MAX;

// Odd factors with bits all over, so that every bit of an address counts.
const MIX: [u32; 4] = [0x9E37_79B1, 0x85EB_CA6B, 0xC2B2_AE35, 0x27D4_EB2F];

// What the scratch words are for: the halves of a block, or the address and the port; the id.
const HIGH: u32 = 0;
const LOW: u32 = 1;
const ID: u32 = 2;
const NUMBER: u32 = 3;
const BIT: u32 = 4;

/// Rows without a gap that a set is looked through by.
const RUNS_MAX: usize = 16;

/// The program of a plan.
pub(crate) fn classic(plan: &Plan) -> Classic {
    let mut asm = Asm::default();
    if plan.open.len() == 0 && !matches!(plan.by, By::Cid(_)) {
        asm.answer(NOBODY);
        return asm.finish();
    }
    let spread = asm.label();
    match plan.by {
        By::Spread => {}
        By::Cpu => by_cpu(&mut asm, plan, spread),
        By::Cid(cover) => by_id(&mut asm, plan, cover.as_ref(), spread),
    }
    asm.here(spread);
    spread_evenly(&mut asm, plan);
    asm.finish()
}

fn by_cpu(asm: &mut Asm, plan: &Plan, spread: Label) {
    asm.load_cpu();
    for (cpu, shard) in plan.cpus.iter().filter(|(_, shard)| plan.open.contains(*shard)) {
        let next = asm.label();
        asm.unless(Test::Equal, *cpu, next);
        asm.answer((*shard).into());
        asm.here(next);
    }
    asm.alu(Alu::And, u32::from(plan.shards()) - 1);
    leave_if_in(asm, &plan.open.missing(plan.shards()), spread);
    asm.answer_a();
}

fn by_id(asm: &mut Asm, plan: &Plan, cover: Option<&RoundKeys>, spread: Label) {
    find_id(asm, spread);
    asm.load_from_x(Width::Half, 0);
    asm.store(ID);
    asm.alu(Alu::ShiftRight, ID_BITS);
    asm.unless(Test::Equal, plan.cover_code(), spread);
    match cover {
        None => asm.recall(ID),
        Some(round_keys) => uncover(asm, round_keys),
    }
    asm.alu(Alu::And, ID_MASK);
    asm.store(ID);
    asm.alu(Alu::ShiftRight, plan.shard_bits);
    asm.unless(Test::Equal, plan.server_id.into(), spread);
    asm.recall(ID);
    asm.alu(Alu::And, u32::from(plan.shards()) - 1);
    leave_if_in(asm, &plan.alive.missing(plan.shards()), spread);
    asm.answer_a();
}

/// X = where the id begins.
fn find_id(asm: &mut Asm, spread: Label) {
    let (long, found) = (asm.label(), asm.label());
    asm.load_len();
    asm.unless(Test::AtLeast, PACKET_LEN_MIN, spread);
    asm.load(Width::Byte, 0);
    asm.when(Test::AnyBit, LONG_HEADER, long);
    asm.set_x(SHORT_CID_AT);
    asm.goto(found);
    asm.here(long);
    asm.load(Width::Byte, LONG_CID_AT - 1);
    asm.unless(Test::Equal, CID_LEN, spread);
    asm.set_x(LONG_CID_AT);
    asm.here(found);
}

/// A = the id without its cover, in its low bits: Speck32/64 of four of the random bytes. A half is
/// rotated by a multiplication that writes it twice, one beside the other.
fn uncover(asm: &mut Asm, round_keys: &RoundKeys) {
    const TWICE: u32 = 0x1_0001;
    asm.load_from_x(Width::Half, COVER_AT);
    asm.store(HIGH);
    asm.load_from_x(Width::Half, COVER_AT + 2);
    asm.store(LOW);
    for key in round_keys {
        asm.recall(HIGH);
        asm.alu(Alu::Mul, TWICE);
        asm.alu(Alu::ShiftRight, 7);
        asm.recall_x(LOW);
        asm.alu_x(Alu::Add);
        asm.alu(Alu::Xor, u32::from(*key));
        asm.alu(Alu::And, 0xFFFF);
        asm.store(HIGH);
        asm.copy_to_x();
        asm.recall(LOW);
        asm.alu(Alu::Mul, TWICE);
        asm.alu(Alu::ShiftRight, 16 - 2);
        asm.alu_x(Alu::Xor);
        asm.alu(Alu::And, 0xFFFF);
        asm.store(LOW);
    }
    asm.recall_x(ID);
    asm.alu_x(Alu::Xor);
}

/// To the label if the number in A is in the set; else it stays in A.
fn leave_if_in(asm: &mut Asm, set: &ShardSet, to: Label) {
    if set.runs().len() > RUNS_MAX {
        return leave_if_bit(asm, set, to);
    }
    for (first, last) in set.runs() {
        if first == last {
            asm.when(Test::Equal, first.into(), to);
            continue;
        }
        let above = asm.label();
        asm.when(Test::AtLeast, u32::from(last) + 1, above);
        asm.when(Test::AtLeast, first.into(), to);
        asm.here(above);
    }
}

/// The same for a set with many gaps, by its bits.
fn leave_if_bit(asm: &mut Asm, set: &ShardSet, to: Label) {
    let done = asm.label();
    asm.store(NUMBER);
    asm.alu(Alu::And, 31);
    asm.copy_to_x();
    asm.set(1);
    asm.alu_x(Alu::ShiftLeft);
    asm.store(BIT);
    asm.recall(NUMBER);
    asm.alu(Alu::ShiftRight, 5);
    for (place, bits) in set.words().enumerate().filter(|(_, bits)| *bits != 0) {
        let next = asm.label();
        asm.unless(Test::Equal, place as u32, next);
        asm.recall(BIT);
        asm.when(Test::AnyBit, bits, to);
        asm.goto(done);
        asm.here(next);
    }
    asm.here(done);
    asm.recall(NUMBER);
}

fn spread_evenly(asm: &mut Asm, plan: &Plan) {
    if plan.shard_bits == 0 || plan.open.len() == 0 {
        return asm.answer(if plan.open.len() == 0 { NOBODY } else { 0 });
    }
    mix_addresses(asm, plan.seed);
    asm.store(HIGH);
    asm.alu(Alu::ShiftRight, u32::BITS - plan.shard_bits);
    let closed = plan.open.missing(plan.shards());
    if closed == ShardSet::EMPTY {
        return asm.answer_a();
    }
    let again = asm.label();
    leave_if_in(asm, &closed, again);
    asm.answer_a();
    asm.here(again);
    asm.recall(HIGH);
    fold(asm, 16);
    asm.alu(Alu::Mul, MIX[3]);
    asm.alu(Alu::ShiftRight, 8);
    asm.alu(Alu::Mod, plan.open.len());
    answer_nth(asm, &plan.open);
}

/// A = a mix of the packet's source address and port. The fields are where an IPv4 header without
/// options and an IPv6 header without extensions have them; with such, other bytes are taken, of
/// which nothing is asked but that they be there: the headers were.
fn mix_addresses(asm: &mut Asm, seed: u32) {
    let (six, found) = (asm.label(), asm.label());
    asm.load_net(Width::Byte, 0);
    asm.alu(Alu::And, 0xF0);
    asm.unless(Test::Equal, 0x40, six);
    asm.load_net(Width::Half, 20);
    asm.store(LOW);
    asm.load_net(Width::Word, 12);
    asm.goto(found);
    asm.here(six);
    asm.load_net(Width::Half, 40);
    asm.store(LOW);
    asm.load_net(Width::Word, 20);
    asm.here(found);
    asm.alu(Alu::Xor, seed);
    asm.alu(Alu::Mul, MIX[0]);
    fold(asm, 16);
    asm.recall_x(LOW);
    asm.alu_x(Alu::Xor);
    asm.alu(Alu::Mul, MIX[1]);
    fold(asm, 13);
    asm.alu(Alu::Mul, MIX[2]);
}

/// A = A ^ A >> `bits`.
fn fold(asm: &mut Asm, bits: u32) {
    asm.copy_to_x();
    asm.alu(Alu::ShiftRight, bits);
    asm.alu_x(Alu::Xor);
}

/// Answers with the member that stands at place A.
fn answer_nth(asm: &mut Asm, members: &ShardSet) {
    let mut passed = 0;
    for (first, last) in members.runs() {
        let next = asm.label();
        let until = passed + u32::from(last - first) + 1;
        asm.when(Test::AtLeast, until, next);
        asm.alu(Alu::Add, u32::from(first) - passed);
        asm.answer_a();
        asm.here(next);
        passed = until;
    }
    // A remainder is below the count of members.
    asm.answer(NOBODY);
}
