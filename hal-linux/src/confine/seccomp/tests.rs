//! The assembled filters, run by a small machine against the lists they were made from.

use super::*;
use crate::confine::system_calls::{Profile, rules};

const ARCHITECTURE_HERE: u32 = 0xc000_003e;

/// Runs a filter of loads, masks and forward jumps, which is all we make.
fn run(program: &Program, number: u32, architecture: u32, arguments: [u64; 6]) -> u32 {
    let mut data = vec![number, architecture, 0, 0];
    for argument in arguments {
        data.push(u32::try_from(argument & 0xffff_ffff).unwrap());
        data.push(u32::try_from(argument >> 32).unwrap());
    }
    let (mut at, mut a) = (0, 0_u32);
    loop {
        let instruction = program.instructions()[at];
        at += 1;
        let k = instruction.k;
        let jump = |holds: bool| usize::from(if holds { instruction.jt } else { instruction.jf });
        match u32::from(instruction.code) {
            0x20 => a = data[k as usize / 4],
            0x54 => a &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(a == k),
            0x25 => at += jump(a > k),
            0x35 => at += jump(a >= k),
            0x45 => at += jump(a & k != 0),
            0x06 => return k,
            code => panic!("an instruction the filter should not have: {code:#x}"),
        }
    }
}

fn value(verdict: Verdict) -> u32 {
    let Target::Return(value) = verdict.target() else { panic!("a verdict is returned") };
    value
}

fn profiles() -> [Profile; 3] {
    [Profile::Daemon { may_reboot: false }, Profile::Daemon { may_reboot: true }, Profile::Console]
}

#[test]
fn every_number_has_the_verdict_of_its_list() {
    for profile in profiles() {
        let rules = rules(profile);
        let program = assemble(ARCHITECTURE_HERE, &rules);
        assert!(program.instructions().len() < 512, "{} instructions", program.instructions().len());
        for number in (0..1024).chain([0x4000_0000, 0x4000_0001, 0xf_0005, u32::MAX]) {
            let rule = rules.iter().find(|&&(listed, _)| listed == number);
            let verdict = match rule {
                None => Verdict::Refuse,
                Some((_, Rule::Always(verdict))) => *verdict,
                Some(_) => continue,
            };
            let result = run(&program, number, ARCHITECTURE_HERE, [0; 6]);
            assert_eq!(result, value(verdict), "{profile:?}, call {number}");
        }
    }
}

#[test]
fn numbers_of_another_machine_end_the_process() {
    let program = assemble(ARCHITECTURE_HERE, &rules(Profile::Console));
    // A 32-bit program on a 64-bit kernel has other numbers: its 1 is exit, ours is write.
    assert_eq!(run(&program, 1, 0x4000_0003, [0; 6]), value(Verdict::Kill));
}

#[test]
fn arguments_are_judged_by_their_low_half() {
    let call = |name: libc::c_long| u32::try_from(name).unwrap();
    let daemon = assemble(ARCHITECTURE_HERE, &rules(Profile::Daemon { may_reboot: false }));
    let console = assemble(ARCHITECTURE_HERE, &rules(Profile::Console));
    let (allow, refuse, kill) = (value(Verdict::Allow), value(Verdict::Refuse), value(Verdict::Kill));
    let on = |program, name, arguments| run(program, call(name), ARCHITECTURE_HERE, arguments);
    let socket =
        |program, family: i32| on(program, libc::SYS_socket, [family.unsigned_abs().into(), 2, 0, 0, 0, 0]);
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET] {
        assert_eq!(socket(&daemon, family), allow, "family {family}");
    }
    assert_eq!(socket(&daemon, libc::AF_VSOCK), refuse);
    assert_eq!(socket(&console, libc::AF_UNIX), allow);
    assert_eq!(socket(&console, libc::AF_INET), refuse);
    let code = u64::from((libc::PROT_READ | libc::PROT_EXEC).unsigned_abs());
    let writable = u64::from(libc::PROT_WRITE.unsigned_abs());
    for name in [libc::SYS_mmap, libc::SYS_mprotect] {
        let with = |protection| [0, 4096, protection, 0, 0, 0];
        assert_eq!(on(&daemon, name, with(code)), allow);
        assert_eq!(on(&daemon, name, with(code | writable)), refuse);
        assert_eq!(on(&console, name, with(writable)), allow);
        assert_eq!(on(&console, name, with(code)), refuse);
    }
    let clone = |flags: u64| on(&daemon, libc::SYS_clone, [flags, 0, 0, 0, 0, 0]);
    assert_eq!(clone(0x0120_0011), allow, "fork");
    assert_eq!(clone(0x1000_0011), refuse, "with a new user namespace");
    assert_eq!(on(&console, libc::SYS_clone, [0x0120_0011, 0, 0, 0, 0, 0]), kill);
    assert_eq!(on(&console, libc::SYS_execve, [0; 6]), kill);
    let ioctl = |request: u64| on(&daemon, libc::SYS_ioctl, [0, request, 0, 0, 0, 0]);
    assert_eq!((ioctl(0x8933), ioctl(0x5412), ioctl(0x1_0000_5412)), (allow, refuse, refuse));
}

#[test]
fn only_who_may_restarts_the_machine() {
    let reboot = u32::try_from(libc::SYS_reboot).unwrap();
    let verdict = |may_reboot| {
        let program = assemble(ARCHITECTURE_HERE, &rules(Profile::Daemon { may_reboot }));
        run(&program, reboot, ARCHITECTURE_HERE, [0; 6])
    };
    assert_eq!((verdict(true), verdict(false)), (value(Verdict::Allow), value(Verdict::Kill)));
}
