//! The extended program (eBPF, `BPF_PROG_TYPE_SK_REUSEPORT`): by connection id, through maps.
//!
//! It differs from the classic one in where the sockets come from: a map, from which who is dead
//! is taken out, and another map of who gets what has no id, by the kernel's hash. So it stays as
//! it is whoever is open or alive.
//!
//! *Invariant*: the verifier of the oldest kernel we run on takes it: no loop, no pointer into the
//! packet (it is copied to the stack, from where bytes are read), every path to the exit.

use std::fmt;

use super::{
    By, CID_LEN, COVER_AT, ID_BITS, ID_MASK, LONG_CID_AT, LONG_HEADER, PACKET_LEN_MIN, Plan,
    RoundKeys, SHORT_CID_AT,
};

/// `sk_reuseport_md::hash`.
const CONTEXT_HASH: i16 = 32;
/// The context's packet begins with the UDP header.
const PAYLOAD_AT: i32 = 8;
/// The packet's beginning on the stack, and a number beside it.
const COPY_AT: i16 = -24;
const NUMBER_AT: i16 = -4;

// Helpers, by their numbers in linux/bpf.h.
const MAP_LOOKUP_ELEM: i32 = 1;
const SKB_LOAD_BYTES: i32 = 26;
const SK_SELECT_REUSEPORT: i32 = 82;
/// Let the packet pass: to the socket that was selected, or to that of the kernel's hash.
const SK_PASS: i32 = 1;
/// An immediate of two instructions is the descriptor of a map: `BPF_PSEUDO_MAP_FD`.
const PSEUDO_MAP_FD: u8 = 1;

const ALU: u8 = 0x04;
const ALU64: u8 = 0x07;
const JMP: u8 = 0x05;
const FROM_REG: u8 = 0x08;
const LOAD_WORD: u8 = 0x61;
const LOAD_BYTE: u8 = 0x71;
const STORE_WORD: u8 = 0x63;
const LOAD_MAP: u8 = 0x18;
const CALL: u8 = JMP | 0x80;
const EXIT: u8 = JMP | 0x90;

/// One instruction, as the kernel has it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Insn {
    code: u8,
    /// The destination in the low half, the source in the high one: little-endian.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A finished program.
pub(super) struct Extended(pub(super) Vec<Insn>);

#[derive(Clone, Copy)]
struct Reg(u8);

const R0: Reg = Reg(0);
const R1: Reg = Reg(1);
const R2: Reg = Reg(2);
const R3: Reg = Reg(3);
const R4: Reg = Reg(4);
const CONTEXT: Reg = Reg(6);
const ID: Reg = Reg(7);
/// Where on the stack the connection id is.
const CID: Reg = Reg(8);
const FRAME: Reg = Reg(10);

#[derive(Clone, Copy)]
enum Op {
    Add = 0x00,
    Mul = 0x20,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Xor = 0xa0,
    Move = 0xb0,
}

#[derive(Clone, Copy)]
enum Test {
    Equal = 0x10,
    AnyBit = 0x40,
    NotEqual = 0x50,
}

#[derive(Clone, Copy)]
struct Label(usize);

#[derive(Default)]
struct Asm {
    insns: Vec<Insn>,
    /// Where each label is, and which jumps go to it.
    labels: Vec<(Option<usize>, Vec<usize>)>,
}

impl Asm {
    fn label(&mut self) -> Label {
        self.labels.push((None, Vec::new()));
        Label(self.labels.len() - 1)
    }

    fn here(&mut self, label: Label) {
        self.labels[label.0].0 = Some(self.insns.len());
    }

    fn push(&mut self, code: u8, to: Reg, from: Reg, offset: i16, immediate: i32) {
        self.insns.push(Insn { code, registers: from.0 << 4 | to.0, offset, immediate });
    }

    /// 64 bits, for pointers.
    fn wide(&mut self, op: Op, to: Reg, immediate: i32) {
        self.push(ALU64 | op as u8, to, R0, 0, immediate);
    }

    fn copy(&mut self, to: Reg, from: Reg) {
        self.push(ALU64 | Op::Move as u8 | FROM_REG, to, from, 0, 0);
    }

    /// 32 bits.
    fn alu(&mut self, op: Op, to: Reg, immediate: i32) {
        self.push(ALU | op as u8, to, R0, 0, immediate);
    }

    fn alu_reg(&mut self, op: Op, to: Reg, from: Reg) {
        self.push(ALU | op as u8 | FROM_REG, to, from, 0, 0);
    }

    fn load_byte(&mut self, to: Reg, from: Reg, offset: i16) {
        self.push(LOAD_BYTE, to, from, offset, 0);
    }

    /// Two bytes in network order. Such a place on the stack is not aligned, which it would have to
    /// be to be read at once. Spoils R4.
    fn load_half(&mut self, to: Reg, from: Reg, offset: i16) {
        self.load_byte(to, from, offset);
        self.alu(Op::ShiftLeft, to, 8);
        self.load_byte(R4, from, offset + 1);
        self.alu_reg(Op::Or, to, R4);
    }

    fn load_map(&mut self, to: Reg, map: i32) {
        self.push(LOAD_MAP, to, Reg(PSEUDO_MAP_FD), 0, map);
        self.push(0, R0, R0, 0, 0);
    }

    fn jump_if(&mut self, test: Test, reg: Reg, immediate: i32, to: Label) {
        self.labels[to.0].1.push(self.insns.len());
        self.push(JMP | test as u8, reg, R0, 0, immediate);
    }

    fn goto(&mut self, to: Label) {
        self.labels[to.0].1.push(self.insns.len());
        self.push(JMP, R0, R0, 0, 0);
    }

    fn call(&mut self, helper: i32) {
        self.push(CALL, R0, R0, 0, helper);
    }

    fn finish(mut self) -> Extended {
        for (place, jumps) in self.labels {
            for jump in jumps {
                let distance = place.expect("every label is set") - jump - 1;
                self.insns[jump].offset = i16::try_from(distance).expect("a short program");
            }
        }
        Extended(self.insns)
    }
}

/// The program of a plan, with the descriptors of its maps.
pub(super) fn extended(plan: &Plan, sockets: i32, spread: i32, entries: u32) -> Extended {
    let mut asm = Asm::default();
    let (by_hash, pass) = (asm.label(), asm.label());
    asm.copy(CONTEXT, R1);
    if let By::Cid(cover) = &plan.by {
        find_id(&mut asm, by_hash);
        read_id(&mut asm, plan, cover.as_ref(), by_hash);
        asm.alu(Op::And, ID, i32::from(plan.shards()) - 1);
        select(&mut asm, sockets, ID);
        asm.jump_if(Test::Equal, R0, 0, pass);
    }
    asm.here(by_hash);
    asm.push(LOAD_WORD, R1, CONTEXT, CONTEXT_HASH, 0);
    asm.alu(Op::And, R1, entries.cast_signed() - 1);
    asm.push(STORE_WORD, FRAME, R1, NUMBER_AT, 0);
    asm.load_map(R1, spread);
    asm.copy(R2, FRAME);
    asm.wide(Op::Add, R2, NUMBER_AT.into());
    asm.call(MAP_LOOKUP_ELEM);
    asm.jump_if(Test::Equal, R0, 0, pass);
    asm.push(LOAD_WORD, R1, R0, 0, 0);
    select(&mut asm, sockets, R1);
    asm.here(pass);
    asm.wide(Op::Move, R0, SK_PASS);
    asm.push(EXIT, R0, R0, 0, 0);
    asm.finish()
}

/// CID = where on the stack the id begins.
fn find_id(asm: &mut Asm, by_hash: Label) {
    let (long, found) = (asm.label(), asm.label());
    asm.wide(Op::Move, R2, PAYLOAD_AT);
    asm.copy(R3, FRAME);
    asm.wide(Op::Add, R3, COPY_AT.into());
    asm.wide(Op::Move, R4, PACKET_LEN_MIN.cast_signed());
    asm.call(SKB_LOAD_BYTES);
    asm.jump_if(Test::NotEqual, R0, 0, by_hash);
    asm.copy(CID, FRAME);
    asm.load_byte(R1, FRAME, COPY_AT);
    asm.jump_if(Test::AnyBit, R1, LONG_HEADER.cast_signed(), long);
    asm.wide(Op::Add, CID, i32::from(COPY_AT) + SHORT_CID_AT.cast_signed());
    asm.goto(found);
    asm.here(long);
    asm.load_byte(R1, FRAME, COPY_AT + LONG_CID_AT as i16 - 1);
    asm.jump_if(Test::NotEqual, R1, CID_LEN.cast_signed(), by_hash);
    asm.wide(Op::Add, CID, i32::from(COPY_AT) + LONG_CID_AT.cast_signed());
    asm.here(found);
}

/// ID = the 14 bits, when they are this server's.
fn read_id(asm: &mut Asm, plan: &Plan, cover: Option<&RoundKeys>, by_hash: Label) {
    asm.load_half(ID, CID, 0);
    asm.copy(R1, ID);
    asm.alu(Op::ShiftRight, R1, ID_BITS.cast_signed());
    asm.jump_if(Test::NotEqual, R1, plan.cover_code().cast_signed(), by_hash);
    if let Some(round_keys) = cover {
        uncover(asm, round_keys);
    }
    asm.alu(Op::And, ID, ID_MASK.cast_signed());
    asm.copy(R1, ID);
    asm.alu(Op::ShiftRight, R1, plan.shard_bits.cast_signed());
    asm.jump_if(Test::NotEqual, R1, plan.server_id.into(), by_hash);
}

/// ID = itself without its cover, in its low bits: Speck32/64 of four of the random bytes.
fn uncover(asm: &mut Asm, round_keys: &RoundKeys) {
    const TWICE: i32 = 0x1_0001;
    let (high, low) = (R2, R3);
    asm.load_half(high, CID, COVER_AT as i16);
    asm.load_half(low, CID, COVER_AT as i16 + 2);
    for key in round_keys {
        asm.alu(Op::Mul, high, TWICE);
        asm.alu(Op::ShiftRight, high, 7);
        asm.alu_reg(Op::Add, high, low);
        asm.alu(Op::Xor, high, (*key).into());
        asm.alu(Op::And, high, 0xFFFF);
        asm.alu(Op::Mul, low, TWICE);
        asm.alu(Op::ShiftRight, low, 16 - 2);
        asm.alu_reg(Op::Xor, low, high);
        asm.alu(Op::And, low, 0xFFFF);
    }
    asm.alu_reg(Op::Xor, ID, low);
}

/// R0 = 0 when the socket of that number is there, and selected.
fn select(asm: &mut Asm, sockets: i32, number: Reg) {
    asm.push(STORE_WORD, FRAME, number, NUMBER_AT, 0);
    asm.copy(R1, CONTEXT);
    asm.load_map(R2, sockets);
    asm.copy(R3, FRAME);
    asm.wide(Op::Add, R3, NUMBER_AT.into());
    asm.wide(Op::Move, R4, 0);
    asm.call(SK_SELECT_REUSEPORT);
}

impl fmt::Display for Extended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, insn) in self.0.iter().enumerate() {
            write!(f, "{at:>4}: ")?;
            insn.write(f, at)?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Insn {
    fn write(&self, f: &mut fmt::Formatter<'_>, at: usize) -> fmt::Result {
        let Self { code, offset, immediate, .. } = *self;
        let (to, from) = (self.registers & 0x0F, self.registers >> 4);
        let target = at as i64 + 1 + i64::from(offset);
        match code {
            0 => write!(f, "-"),
            LOAD_MAP => write!(f, "r{to} = map {immediate}"),
            LOAD_BYTE => write!(f, "r{to} = byte [r{from} {offset:+}]"),
            LOAD_WORD => write!(f, "r{to} = word [r{from} {offset:+}]"),
            STORE_WORD => write!(f, "word [r{to} {offset:+}] = r{from}"),
            CALL => write!(f, "call {immediate}"),
            EXIT => write!(f, "exit"),
            JMP => write!(f, "goto {target}"),
            _ if code & 0x07 == JMP => {
                let test = match code & 0xF0 {
                    0x10 => "==",
                    0x40 => "&",
                    _ => "!=",
                };
                write!(f, "if r{to} {test} {immediate:#x} goto {target}")
            }
            _ => self.write_alu(f),
        }
    }

    fn write_alu(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (to, from) = (self.registers & 0x0F, self.registers >> 4);
        let name = if self.code & 0x07 == ALU64 { "r" } else { "w" };
        let op = match self.code & 0xF0 {
            0x00 => "+=",
            0x20 => "*=",
            0x40 => "|=",
            0x50 => "&=",
            0x60 => "<<=",
            0x70 => ">>=",
            0xa0 => "^=",
            _ => "=",
        };
        match self.code & FROM_REG {
            0 => write!(f, "{name}{to} {op} {}", self.immediate),
            _ => write!(f, "{name}{to} {op} {name}{from}"),
        }
    }
}
