//! A classic BPF machine, after the manual page bpf(4) of the BSDs and the kernel's
//! `Documentation/networking/filter.rst`; only as fast as a test needs.

use nix::libc::{self, sock_filter};

/// A packet as a socket's filter sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) data: &'a [u8],
    /// `SKF_AD_PROTOCOL`.
    pub(crate) protocol: u16,
    /// `SKF_AD_PKTTYPE`.
    pub(crate) packet_type: u8,
}

/// Octets to keep, and how many instructions it took to find out.
pub(crate) fn run(program: &[sock_filter], packet: &Packet<'_>) -> (u32, usize) {
    let mut machine = Machine { packet, a: 0, x: 0, memory: [None; 16] };
    let mut at = 0;
    for count in 1.. {
        let instruction = program[at];
        at += 1;
        match machine.step(instruction) {
            Step::Next => {}
            Step::Skip(distance) => at += distance,
            Step::Return(octets) => return (octets, count),
        }
    }
    unreachable!("jumps only go forward")
}

enum Step {
    Next,
    Skip(usize),
    Return(u32),
}

struct Machine<'a> {
    packet: &'a Packet<'a>,
    a: u32,
    x: u32,
    memory: [Option<u32>; 16],
}

impl Machine<'_> {
    fn step(&mut self, instruction: sock_filter) -> Step {
        let sock_filter { code, jt, jf, k } = instruction;
        let code = u32::from(code);
        match code & 0x07 {
            libc::BPF_RET => return Step::Return(k),
            libc::BPF_JMP if code == libc::BPF_JMP | libc::BPF_JA => return Step::Skip(k as usize),
            libc::BPF_JMP => {
                let holds = match code & 0xf0 {
                    libc::BPF_JEQ => self.a == k,
                    libc::BPF_JGE => self.a >= k,
                    libc::BPF_JGT => self.a > k,
                    libc::BPF_JSET => self.a & k != 0,
                    _ => panic!("unknown jump {code:#x}"),
                };
                return Step::Skip(usize::from(if holds { jt } else { jf }));
            }
            libc::BPF_LD if code & 0xe0 == libc::BPF_MEM => self.a = self.recall(k),
            libc::BPF_LD => match self.load(code, k) {
                Some(value) => self.a = value,
                None => return Step::Return(0),
            },
            libc::BPF_LDX if code & 0xe0 == libc::BPF_MEM => self.x = self.recall(k),
            libc::BPF_LDX if code & 0xe0 == libc::BPF_IMM => self.x = k,
            libc::BPF_ST => self.memory[k as usize] = Some(self.a),
            libc::BPF_STX => self.memory[k as usize] = Some(self.x),
            libc::BPF_ALU => self.calculate(code, k),
            libc::BPF_MISC if code & 0xf8 == libc::BPF_TAX => self.x = self.a,
            libc::BPF_MISC => self.a = self.x,
            _ => panic!("unknown instruction {code:#x}"),
        }
        Step::Next
    }

    fn recall(&self, word: u32) -> u32 {
        self.memory[word as usize].expect("the kernel refuses programs that read what was not stored")
    }

    fn load(&self, code: u32, k: u32) -> Option<u32> {
        let ancillary = libc::SKF_AD_OFF as u32;
        if code & 0xe0 == libc::BPF_ABS && k >= ancillary {
            return Some(match i32::try_from(k - ancillary).unwrap() {
                libc::SKF_AD_PROTOCOL => self.packet.protocol.into(),
                libc::SKF_AD_PKTTYPE => self.packet.packet_type.into(),
                other => panic!("unknown ancillary load {other}"),
            });
        }
        let start = if code & 0xe0 == libc::BPF_IND { self.x.checked_add(k)? } else { k } as usize;
        let octets = match code & 0x18 {
            libc::BPF_B => 1,
            libc::BPF_H => 2,
            _ => 4,
        };
        let bytes = self.packet.data.get(start..start + octets)?;
        Some(bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    fn calculate(&mut self, code: u32, k: u32) {
        let operand = if code & 0x08 == libc::BPF_X { self.x } else { k };
        self.a = match code & 0xf0 {
            libc::BPF_ADD => self.a.wrapping_add(operand),
            libc::BPF_SUB => self.a.wrapping_sub(operand),
            libc::BPF_AND => self.a & operand,
            libc::BPF_LSH => self.a << operand,
            other => panic!("unknown operation {other:#x}"),
        };
    }
}
