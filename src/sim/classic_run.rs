//! Runs the classic programs of `sys::steer` on packets that no kernel sees.
//!
//! Role: the instructions that the programs are made of, with the kernel's rules. Not role: the
//! other ones.
//!
//! *Invariants*: a load outside of the packet ends the program with 0, as in the kernel; whatever
//! the packet, nothing outside of it is read.

use crate::sys::steer::asm::Insn;

/// A packet, as a program sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// From the network header on.
    pub(crate) network: &'a [u8],
    /// What offsets count from: behind the transport header.
    pub(crate) payload: &'a [u8],
    /// The processor that received it.
    pub(crate) cpu: u32,
}

const NET: u32 = libc::SKF_NET_OFF as u32;
const AD_CPU: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;

impl View<'_> {
    /// The word at an offset, the most significant byte first.
    fn load(&self, code: u32, at: u32) -> Option<u32> {
        if at == AD_CPU {
            return Some(self.cpu);
        }
        let (from, at) = if at >= NET { (self.network, at - NET) } else { (self.payload, at) };
        let len = match code & 0x18 {
            libc::BPF_B => 1,
            libc::BPF_H => 2,
            _ => 4,
        };
        let bytes = from.get(at as usize..)?.get(..len)?;
        Some(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
    }
}

/// What the program answers.
///
/// # Panics
/// When it is none that the kernel would have taken.
pub(crate) fn run(program: &[Insn], packet: &View<'_>) -> u32 {
    let (mut a, mut x, mut memory, mut at) = (0_u32, 0_u32, [0_u32; 16], 0);
    loop {
        let Insn { code, jt, jf, k } = program[at];
        let code = u32::from(code);
        at += 1;
        match code & 0x07 {
            libc::BPF_LD => match load(packet, code, k, x, &memory) {
                Some(word) => a = word,
                None => return 0,
            },
            libc::BPF_LDX if code & 0xe0 == libc::BPF_MEM => x = memory[k as usize],
            libc::BPF_LDX => x = k,
            libc::BPF_ST => memory[k as usize] = a,
            libc::BPF_MISC => x = a,
            libc::BPF_ALU => a = alu(code, a, if code & libc::BPF_X != 0 { x } else { k }),
            libc::BPF_JMP if code & 0xf0 == libc::BPF_JA => at += k as usize,
            libc::BPF_JMP => at += usize::from(if test(code, a, k) { jt } else { jf }),
            _ => return if code & libc::BPF_A != 0 { a } else { k },
        }
    }
}

fn load(packet: &View<'_>, code: u32, k: u32, x: u32, memory: &[u32; 16]) -> Option<u32> {
    match code & 0xe0 {
        libc::BPF_IMM => Some(k),
        libc::BPF_LEN => Some(packet.payload.len() as u32),
        libc::BPF_MEM => Some(memory[k as usize]),
        libc::BPF_IND => packet.load(code, x.wrapping_add(k)),
        _ => packet.load(code, k),
    }
}

fn alu(code: u32, a: u32, by: u32) -> u32 {
    match code & 0xf0 {
        libc::BPF_ADD => a.wrapping_add(by),
        libc::BPF_MUL => a.wrapping_mul(by),
        libc::BPF_MOD => a % by,
        libc::BPF_AND => a & by,
        libc::BPF_XOR => a ^ by,
        libc::BPF_LSH => a << by,
        libc::BPF_RSH => a >> by,
        other => panic!("{other:#x}: no program has that"),
    }
}

fn test(code: u32, a: u32, k: u32) -> bool {
    match code & 0xf0 {
        libc::BPF_JEQ => a == k,
        libc::BPF_JGE => a >= k,
        libc::BPF_JSET => a & k != 0,
        other => panic!("{other:#x}: no program has that"),
    }
}
