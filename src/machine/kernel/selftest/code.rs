//! Instructions of a body: eBPF, with its state in `skb->cb[0]`, and classic BPF.

use std::os::fd::{AsRawFd, BorrowedFd};

use libbpf_sys::bpf_insn;
use socket2::SockFilter;

use crate::selftest::body::{Body, Kind, MOST_CLASSIC, Step};

/// Offset of `cb[0]` in `struct __sk_buff`.
const CB: i16 = 48;

const ALU32_K: u8 = 0x04;
const MOV: u8 = 0xb0;
const MOV64_X: u8 = 0xbf;
const MOV64_K: u8 = 0xb7;
const MOV32_X: u8 = 0xbc;
const LDX_W: u8 = 0x61;
const STX_W: u8 = 0x63;
const LD_IMM64: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// `BPF_PSEUDO_CALL` and `BPF_PSEUDO_MAP_FD` in `src_reg`, `BPF_FUNC_tail_call`.
const PSEUDO_CALL: u8 = 1;
const MAP_FD: u8 = 1;
const TAIL_CALL: i32 = 12;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
    let mut insn = bpf_insn { code, off, imm, ..Default::default() };
    insn.set_dst_reg(dst);
    insn.set_src_reg(src);
    insn
}

/// Operation code and constant of a step, the same in eBPF and in classic BPF.
fn operation(step: Step) -> (u8, u32) {
    match step {
        Step::Add(by) => (0x00, by),
        Step::Sub(by) => (0x10, by),
        Step::Mul(by) => (0x20, by),
        Step::Div(by) => (0x30, by),
        Step::Xor(by) => (0xa0, by),
    }
}

/// The steps of a part, on w0.
fn steps(body: &Body, part: u32) -> impl Iterator<Item = bpf_insn> {
    body.part(part).into_iter().map(|step| {
        let (code, constant) = operation(step);
        insn(ALU32_K | code, 0, 0, 0, constant as i32)
    })
}

/// One program: the main function and, behind it, the functions it calls.
pub fn program(body: &Body) -> Vec<bpf_insn> {
    let mut insns = vec![insn(LDX_W, 0, 1, CB, 0)];
    insns.extend(steps(body, 0));
    if body.kind != Kind::Subprograms {
        insns.push(insn(EXIT, 0, 0, 0, 0));
        return insns;
    }
    // r1 = r0, call: two instructions for each, then the end; functions follow, each of steps + 2.
    let each = body.steps as i32 + 2;
    for part in 0..body.parts as i32 {
        insns.push(insn(MOV64_X, 1, 0, 0, 0));
        let behind = 2 * (body.parts as i32 - 1 - part) + 1;
        insns.push(insn(CALL, 0, PSEUDO_CALL, 0, behind + part * each));
    }
    insns.push(insn(EXIT, 0, 0, 0, 0));
    for part in 1..=body.parts {
        insns.push(insn(MOV32_X, 0, 1, 0, 0));
        insns.extend(steps(body, part));
        insns.push(insn(EXIT, 0, 0, 0, 0));
    }
    insns
}

/// Link number `link` of a chain of tail calls; all but the last jump on through `array`. A quarter of all chains jump directly.
pub fn link(body: &Body, link: u32, array: BorrowedFd<'_>) -> Vec<bpf_insn> {
    let mut insns = vec![insn(MOV64_X, 6, 1, 0, 0), insn(LDX_W, 0, 6, CB, 0)];
    insns.extend(steps(body, link));
    if link == body.parts {
        insns.push(insn(EXIT, 0, 0, 0, 0));
        return insns;
    }
    insns.push(insn(STX_W, 6, 0, CB, 0));
    if body.seed.is_multiple_of(4) {
        insns.push(insn(MOV64_K, 3, 0, 0, link as i32 + 1));
    } else {
        // An index that the verifier does not know: cb[0] MOD 1, plus the link.
        insns.push(insn(MOV32_X, 3, 0, 0, 0));
        insns.push(insn(ALU32_K | 0x90, 3, 0, 0, 1));
        insns.push(insn(ALU32_K, 3, 0, 0, link as i32 + 1));
    }
    insns.push(insn(MOV64_X, 1, 6, 0, 0));
    insns.push(insn(LD_IMM64, 2, MAP_FD, 0, array.as_raw_fd()));
    insns.push(insn(0, 0, 0, 0, 0));
    insns.push(insn(CALL, 0, 0, 0, TAIL_CALL));
    // Only reached if the jump fails: a result that is wrong.
    insns.push(insn(LDX_W, 0, 6, CB, 0));
    insns.push(insn(ALU32_K | MOV, 0, 0, 0, 0x0bad_0bad));
    insns.push(insn(EXIT, 0, 0, 0, 0));
    insns
}

/// A filter that lets as many bytes through as it computes.
pub fn filter(body: &Body) -> Vec<SockFilter> {
    const LD_IMM: u16 = 0x00;
    const MOD_K: u16 = 0x94;
    const ADD_K: u16 = 0x04;
    const RET_A: u16 = 0x16;
    let classic = |step| {
        let (code, constant) = operation(step);
        SockFilter::new(u16::from(ALU32_K | code), 0, 0, constant)
    };
    [SockFilter::new(LD_IMM, 0, 0, body.seed)]
        .into_iter()
        .chain(body.part(0).into_iter().map(classic))
        .chain([
            SockFilter::new(MOD_K, 0, 0, MOST_CLASSIC),
            SockFilter::new(ADD_K, 0, 0, 1),
            SockFilter::new(RET_A, 0, 0, 0),
        ])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_lead_to_the_functions_behind_the_main_one() {
        let body = Body { kind: Kind::Subprograms, seed: 1, steps: 7, parts: 4 };
        let insns = program(&body);
        let targets: Vec<usize> = insns
            .iter()
            .enumerate()
            .filter(|(_, insn)| insn.code == CALL)
            .map(|(at, insn)| (at as i32 + 1 + insn.imm) as usize)
            .collect();
        assert_eq!(targets.len(), 4);
        for target in targets {
            assert_eq!((insns[target].code, insns[target - 1].code), (MOV32_X, EXIT));
        }
        assert_eq!(insns.last().map(|insn| insn.code), Some(EXIT));
    }
}
