//! Classic BPF, put together by name.
//!
//! Role: [`Asm`] takes instructions and labels, [`Classic`] is the finished program: for the kernel
//! bytes, for people the assembly that bpf_asm(8) reads. Not role: what a program is to do.
//!
//! *Invariants*: every jump goes forward to a label that was set; one that is too far for the eight
//! bits of a conditional jump goes through an unconditional one; no program is longer than the
//! kernel takes.

use std::fmt;

/// The longest program that the kernel takes.
const PROGRAM_LEN_MAX: usize = libc::BPF_MAXINSNS as usize;
/// The farthest jump of a conditional instruction.
const SHORT_JUMP_MAX: usize = 255;

const AD_CPU: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;
const NET: u32 = libc::SKF_NET_OFF as u32;

/// One instruction, as the kernel has it.
pub(crate) type Insn = libc::sock_filter;

/// A finished program.
pub(crate) struct Classic(Vec<Insn>);

impl Classic {
    pub(crate) fn insns(&self) -> &[Insn] {
        &self.0
    }

    /// The same for calls that take it; they copy the instructions, and write none.
    pub(in crate::sys) const fn for_kernel(&self) -> libc::sock_fprog {
        libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() }
    }
}

/// How much a load takes.
#[derive(Clone, Copy)]
pub(in crate::sys) enum Width {
    Byte = libc::BPF_B as isize,
    Half = libc::BPF_H as isize,
    Word = libc::BPF_W as isize,
}

/// What an instruction does to A.
#[derive(Clone, Copy)]
pub(in crate::sys) enum Alu {
    Add = libc::BPF_ADD as isize,
    Mul = libc::BPF_MUL as isize,
    Mod = libc::BPF_MOD as isize,
    And = libc::BPF_AND as isize,
    Xor = libc::BPF_XOR as isize,
    ShiftLeft = libc::BPF_LSH as isize,
    ShiftRight = libc::BPF_RSH as isize,
}

/// What a jump asks of A.
#[derive(Clone, Copy)]
pub(in crate::sys) enum Test {
    Equal = libc::BPF_JEQ as isize,
    AtLeast = libc::BPF_JGE as isize,
    AnyBit = libc::BPF_JSET as isize,
}

/// A place in the program.
#[derive(Clone, Copy)]
pub(in crate::sys) struct Label(usize);

enum Item {
    Plain {
        code: u32,
        k: u32,
    },
    Here(Label),
    Goto(Label),
    /// To the label when the test says `wanted`, else on.
    Jump {
        test: Test,
        k: u32,
        to: Label,
        wanted: bool,
    },
}

/// A program on the way.
#[derive(Default)]
pub(in crate::sys) struct Asm {
    items: Vec<Item>,
    labels: usize,
}

impl Asm {
    /// A label that is not set yet.
    pub(in crate::sys) const fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    /// Sets a label to what follows.
    pub(in crate::sys) fn here(&mut self, label: Label) {
        self.items.push(Item::Here(label));
    }

    fn plain(&mut self, code: u32, k: u32) {
        self.items.push(Item::Plain { code, k });
    }

    /// A = the length of the packet.
    pub(in crate::sys) fn load_len(&mut self) {
        self.plain(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0);
    }

    /// A = the packet's bytes at `at`, in network order.
    pub(in crate::sys) fn load(&mut self, width: Width, at: u32) {
        self.plain(libc::BPF_LD | width as u32 | libc::BPF_ABS, at);
    }

    /// A = the packet's bytes at X and `at`.
    pub(in crate::sys) fn load_from_x(&mut self, width: Width, at: u32) {
        self.plain(libc::BPF_LD | width as u32 | libc::BPF_IND, at);
    }

    /// A = bytes at `at` from the beginning of the network header.
    pub(in crate::sys) fn load_net(&mut self, width: Width, at: u32) {
        self.load(width, NET.wrapping_add(at));
    }

    /// A = the number of the processor.
    pub(in crate::sys) fn load_cpu(&mut self) {
        self.load(Width::Word, AD_CPU);
    }

    /// A = `k`.
    pub(in crate::sys) fn set(&mut self, k: u32) {
        self.plain(libc::BPF_LD | libc::BPF_IMM, k);
    }

    /// X = `k`.
    pub(in crate::sys) fn set_x(&mut self, k: u32) {
        self.plain(libc::BPF_LDX | libc::BPF_IMM, k);
    }

    /// A = M\[slot\].
    pub(in crate::sys) fn recall(&mut self, slot: u32) {
        self.plain(libc::BPF_LD | libc::BPF_MEM, slot);
    }

    /// X = M\[slot\].
    pub(in crate::sys) fn recall_x(&mut self, slot: u32) {
        self.plain(libc::BPF_LDX | libc::BPF_MEM, slot);
    }

    /// M\[slot\] = A.
    pub(in crate::sys) fn store(&mut self, slot: u32) {
        self.plain(libc::BPF_ST, slot);
    }

    /// X = A.
    pub(in crate::sys) fn copy_to_x(&mut self) {
        self.plain(libc::BPF_MISC | libc::BPF_TAX, 0);
    }

    /// A = A op `k`.
    pub(in crate::sys) fn alu(&mut self, op: Alu, k: u32) {
        self.plain(libc::BPF_ALU | op as u32 | libc::BPF_K, k);
    }

    /// A = A op X.
    pub(in crate::sys) fn alu_x(&mut self, op: Alu) {
        self.plain(libc::BPF_ALU | op as u32 | libc::BPF_X, 0);
    }

    /// To the label if it is so, else on.
    pub(in crate::sys) fn when(&mut self, test: Test, k: u32, to: Label) {
        self.items.push(Item::Jump { test, k, to, wanted: true });
    }

    /// To the label if it is not so, else on.
    pub(in crate::sys) fn unless(&mut self, test: Test, k: u32, to: Label) {
        self.items.push(Item::Jump { test, k, to, wanted: false });
    }

    pub(in crate::sys) fn goto(&mut self, to: Label) {
        self.items.push(Item::Goto(to));
    }

    /// The answer is `k`.
    pub(in crate::sys) fn answer(&mut self, k: u32) {
        self.plain(libc::BPF_RET | libc::BPF_K, k);
    }

    /// The answer is A.
    pub(in crate::sys) fn answer_a(&mut self) {
        self.plain(libc::BPF_RET | libc::BPF_A, 0);
    }

    /// The program.
    pub(in crate::sys) fn finish(self) -> Classic {
        let layout = self.layout();
        let mut insns = Vec::with_capacity(layout.len);
        for (item, is_far) in self.items.iter().zip(&layout.is_far) {
            let at = insns.len();
            match *item {
                Item::Here(_) => {}
                Item::Plain { code, k } => insns.push(insn(code, 0, 0, k)),
                Item::Goto(to) => insns.push(goto(layout.distance(at, to))),
                Item::Jump { test, k, to, wanted } => {
                    let code = libc::BPF_JMP | test as u32 | libc::BPF_K;
                    // The far one passes over the jump that follows it when it is not to be taken.
                    let (taken, passed) =
                        if *is_far { (0, 1) } else { (layout.distance(at, to) as u8, 0) };
                    let (jt, jf) = if wanted { (taken, passed) } else { (passed, taken) };
                    insns.push(insn(code, jt, jf, k));
                    if *is_far {
                        insns.push(goto(layout.distance(at + 1, to)));
                    }
                }
            }
        }
        assert!(insns.len() <= PROGRAM_LEN_MAX, "{} instructions", insns.len());
        Classic(insns)
    }

    /// Where everything comes to lie: jumps are made far until no near one is too far.
    fn layout(&self) -> Layout {
        let mut is_far = vec![false; self.items.len()];
        loop {
            let layout = self.place(is_far);
            let too_far = self.too_far(&layout);
            if too_far.is_empty() {
                return layout;
            }
            is_far = layout.is_far;
            too_far.into_iter().for_each(|item| is_far[item] = true);
        }
    }

    fn place(&self, is_far: Vec<bool>) -> Layout {
        let mut layout = Layout { is_far, labels: vec![usize::MAX; self.labels], len: 0 };
        for (item, is_far) in self.items.iter().zip(&layout.is_far) {
            if let Item::Here(label) = item {
                layout.labels[label.0] = layout.len;
            }
            layout.len += item.len(*is_far);
        }
        layout
    }

    /// Near jumps that do not get there.
    fn too_far(&self, layout: &Layout) -> Vec<usize> {
        let mut next = 0;
        let items = self.items.iter().enumerate().filter(|(number, item)| {
            let (at, is_far) = (next, layout.is_far[*number]);
            next += item.len(is_far);
            matches!(item, Item::Jump { to, .. }
                if !is_far && layout.distance(at, *to) > SHORT_JUMP_MAX)
        });
        items.map(|(number, _)| number).collect()
    }
}

impl Item {
    const fn len(&self, is_far: bool) -> usize {
        match self {
            Self::Here(_) => 0,
            Self::Jump { .. } if is_far => 2,
            _ => 1,
        }
    }
}

struct Layout {
    is_far: Vec<bool>,
    labels: Vec<usize>,
    len: usize,
}

impl Layout {
    /// Instructions between the one at `at` and the label.
    fn distance(&self, at: usize, to: Label) -> usize {
        let to = self.labels[to.0];
        assert!(to > at && to < self.len, "a label that is not set, or not ahead");
        to - at - 1
    }
}

const fn insn(code: u32, jt: u8, jf: u8, k: u32) -> Insn {
    Insn { code: code as u16, jt, jf, k }
}

const fn goto(distance: usize) -> Insn {
    insn(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance as u32)
}

impl fmt::Display for Classic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, insn) in self.0.iter().enumerate() {
            write!(f, "{at:>4}: ")?;
            match u32::from(insn.code) & 0x07 {
                libc::BPF_JMP => write_jump(f, at, insn)?,
                _ => write_plain(f, insn)?,
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn write_jump(f: &mut fmt::Formatter<'_>, at: usize, insn: &Insn) -> fmt::Result {
    let next = at + 1;
    let name = match u32::from(insn.code) & 0xf0 {
        libc::BPF_JA => return write!(f, "ja {}", next + insn.k as usize),
        libc::BPF_JEQ => "jeq",
        libc::BPF_JGE => "jge",
        _ => "jset",
    };
    let (jt, jf) = (next + usize::from(insn.jt), next + usize::from(insn.jf));
    write!(f, "{name} #{:#x}, {jt}, {jf}", insn.k)
}

fn write_plain(f: &mut fmt::Formatter<'_>, insn: &Insn) -> fmt::Result {
    let (code, k) = (u32::from(insn.code), insn.k);
    let load = match code & 0x18 {
        libc::BPF_B => "ldb",
        libc::BPF_H => "ldh",
        _ => "ld",
    };
    match (code & 0x07, code & 0xe0) {
        (libc::BPF_LD, libc::BPF_LEN) => write!(f, "ld len"),
        (libc::BPF_LD, libc::BPF_IMM) => write!(f, "ld #{k:#x}"),
        (libc::BPF_LD, libc::BPF_MEM) => write!(f, "ld M[{k}]"),
        (libc::BPF_LD, libc::BPF_IND) => write!(f, "{load} [x + {k}]"),
        (libc::BPF_LD, _) if k == AD_CPU => write!(f, "ld cpu"),
        (libc::BPF_LD, _) if k >= NET => write!(f, "{load} net[{}]", k - NET),
        (libc::BPF_LD, _) => write!(f, "{load} [{k}]"),
        (libc::BPF_LDX, libc::BPF_MEM) => write!(f, "ldx M[{k}]"),
        (libc::BPF_LDX, _) => write!(f, "ldx #{k}"),
        (libc::BPF_ST, _) => write!(f, "st M[{k}]"),
        (libc::BPF_MISC, _) => write!(f, "tax"),
        (libc::BPF_RET, _) if code & libc::BPF_A != 0 => write!(f, "ret a"),
        (libc::BPF_RET, _) => write!(f, "ret #{}", k.cast_signed()),
        _ => write_alu(f, code, k),
    }
}

fn write_alu(f: &mut fmt::Formatter<'_>, code: u32, k: u32) -> fmt::Result {
    let name = match code & 0xf0 {
        libc::BPF_ADD => "add",
        libc::BPF_MUL => "mul",
        libc::BPF_MOD => "mod",
        libc::BPF_AND => "and",
        libc::BPF_XOR => "xor",
        libc::BPF_LSH => "lsh",
        _ => "rsh",
    };
    if code & libc::BPF_X != 0 { write!(f, "{name} x") } else { write!(f, "{name} #{k:#x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_jump_goes_through_an_unconditional_one() {
        for (between, len) in [(255, 258), (256, 260)] {
            let mut asm = Asm::default();
            let end = asm.label();
            asm.load_len();
            asm.unless(Test::AtLeast, 1, end);
            (0..between).for_each(|k| asm.alu(Alu::Add, k));
            asm.here(end);
            asm.answer_a();
            let program = asm.finish();
            assert_eq!(program.insns().len(), len);
            let text = program.to_string();
            let jump =
                if between == 255 { "jge #0x1, 2, 257" } else { "jge #0x1, 3, 2\n   2: ja 259" };
            assert!(text.contains(jump), "{text}");
        }
    }

    #[test]
    #[should_panic(expected = "a label that is not set")]
    fn a_jump_to_nowhere_is_found() {
        let mut asm = Asm::default();
        let nowhere = asm.label();
        asm.goto(nowhere);
        asm.answer(0);
        asm.finish();
    }
}
