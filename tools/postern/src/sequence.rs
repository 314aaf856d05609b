//! Makes a sequence that `postern check` has nothing to say about.

use std::fs::File;
use std::io::Read;

use postern_core::knock::{Protocol, Step};

use postern_config::services::{EPHEMERAL_FIRST, service_on};

/// Lowest port a made knock uses.
const FIRST: u16 = 1100;

/// A random sequence of `count` knocks, TCP and UDP, from the kernel's random numbers.
///
/// # Errors
/// When the kernel gives none.
pub fn random(count: usize) -> std::io::Result<Vec<Step>> {
    let mut source = File::open("/dev/urandom")?;
    loop {
        let mut steps = Vec::with_capacity(count);
        while steps.len() < count {
            let mut octets = [0; 4];
            source.read_exact(&mut octets)?;
            // Every other knock is TCP at least: its guards are wide, those of UDP must be narrow.
            let tcp_only = steps.len() % 2 == 0;
            let apart = |step: &Step| steps.iter().all(|other| is_apart(*step, *other));
            if let Some(step) = candidate(octets, tcp_only).filter(apart) {
                steps.push(step);
            }
        }
        let rising = steps.windows(2).all(|pair| pair[0].value < pair[1].value);
        let falling = steps.windows(2).all(|pair| pair[0].value > pair[1].value);
        if count < 3 || !(rising || falling) {
            return Ok(steps);
        }
    }
}

/// Guards of knocks that lie close together overlap, and are fewer.
fn is_apart(step: Step, other: Step) -> bool {
    let least = if step.protocol == Protocol::Tcp { 600 } else { 60 };
    step.protocol != other.protocol || step.value.abs_diff(other.value) > least
}

fn candidate([low, high, kind, _]: [u8; 4], tcp_only: bool) -> Option<Step> {
    let protocol = if tcp_only || kind & 1 == 0 { Protocol::Tcp } else { Protocol::Udp };
    let value = u16::from_le_bytes([low, high]);
    let fits = (FIRST..EPHEMERAL_FIRST).contains(&value) && service_on(value).is_none();
    fits.then_some(Step { protocol, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_passes_the_check() {
        for _ in 0..50 {
            let steps = random(4).unwrap();
            let list: Vec<String> = steps.iter().map(|step| format!("\"{step}\"")).collect();
            let text = format!(
                "schema = 1\n[gateway]\nname = \"g\"\ninterfaces = [\"eth0\"]\n[[door]]\nname = \"d\"\n\
                 ports = [\"tcp/22\"]\nopen_for = \"30s\"\nsequence = [{}]\n",
                list.join(", ")
            );
            assert_eq!(crate::check::check(&text).findings, [], "{text}");
        }
    }
}
