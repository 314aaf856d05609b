//! Changes behind Postern's back are seen, and installing again undoes them.

use postern_core::knock::ServicePort;
use postern_core::port::FirewallError;
use postern_hal_linux::firewall::{Drift, Family};

use crate::every_back_end;
use crate::gate::{Backend, rules};
use crate::lab::{Lab, in_lab, nets, run, serve};

const SSH: ServicePort = ServicePort::tcp(7001);

every_back_end!(
    every_change_is_seen_and_repaired,
    a_set_that_is_gone_is_named,
    a_rule_that_does_something_else_is_seen
);

/// A command and what it breaks.
fn changes(backend: Backend) -> Vec<(String, Drift)> {
    let chain = |family: Option<Family>, name: &str| Drift::ChainChanged(family, name.to_owned());
    let missing = |family: Option<Family>, name: &str| Drift::ChainMissing(family, name.to_owned());
    let ports = |missing, surplus| Drift::PortsDiffer { missing, surplus };
    if backend == Backend::Nftables {
        let nft = |words: &str, drift: Drift| (format!("nft {words}"), drift);
        return vec![
            nft("flush ruleset", missing(None, "gate")),
            nft("flush table inet postern", chain(None, "input")),
            nft("flush chain inet postern gate", chain(None, "gate")),
            nft("insert rule inet postern input accept", chain(None, "input")),
            nft("insert rule inet postern gate accept comment mine", chain(None, "gate")),
            nft("delete element inet postern protected { tcp . 7001 }", ports(1, 0)),
            nft("add element inet postern protected { udp . 7001 }", ports(0, 1)),
        ];
    }
    let mut changes = vec![
        ("ipset del POSTERN-TCP 7001".to_owned(), ports(1, 0)),
        ("ipset add POSTERN-UDP 80".to_owned(), ports(0, 1)),
        ("ipset flush".to_owned(), ports(1, 0)),
    ];
    for (program, family) in backend.programs().iter().zip([Family::V4, Family::V6]) {
        let mut add = |words: &str, drift: Drift| changes.push((format!("{program} {words}"), drift));
        add("-F", Drift::JumpMissing(family));
        add("-F INPUT", Drift::JumpMissing(family));
        add("-F POSTERN", chain(Some(family), "POSTERN"));
        add("-F POSTERN-GATE", chain(Some(family), "POSTERN-GATE"));
        add("-D POSTERN-GATE 3", chain(Some(family), "POSTERN-GATE"));
        add("-I POSTERN -j RETURN", chain(Some(family), "POSTERN"));
        add("-I INPUT -j ACCEPT", Drift::JumpNotFirst(family));
        add("-A INPUT -j POSTERN", Drift::JumpRepeated(family));
    }
    changes
}

fn every_change_is_seen_and_repaired(backend: Backend) {
    in_lab(move |lab| {
        let changes = changes(backend);
        assert!(are_seen_and_repaired(lab, backend, |number| changes.get(number).cloned()) > 1);
    });
}

/// Carries out change after change, until there is none; how many.
fn are_seen_and_repaired(
    lab: &Lab,
    backend: Backend,
    change: impl Fn(usize) -> Option<(String, Drift)>,
) -> usize {
    let rules = rules(&[&[SSH]]);
    let mut gate = backend.gate();
    gate.install(&rules);
    let net = nets()[1];
    serve(net.gate, SSH.port);
    let mut number = 0;
    while let Some((command, drift)) = change(number) {
        assert_eq!(gate.verify(&rules).to_string(), "as installed", "before {command}");
        run(&command);
        let found = gate.verify(&rules);
        assert!(found.drifts().contains(&drift), "{command}: {found}");
        gate.install(&rules);
        assert_eq!(gate.verify(&rules).to_string(), "as installed", "after {command}");
        assert!(!lab.answers(net.friend, net.gate, SSH.port), "after {command}");
        number += 1;
    }
    number
}

/// The command that puts a rule that accepts in the place of the one at `position`, and its drift.
fn accepting(backend: Backend, chain: &str, position: usize) -> Option<(String, Drift)> {
    if backend == Backend::Nftables {
        let chain = if chain == "POSTERN" { "input" } else { "gate" };
        let listing = run(&format!("nft -a list chain inet postern {chain}"));
        let rule = listing.lines().filter(|line| line.contains(" comment ")).nth(position)?;
        let (text, handle) = rule.rsplit_once(" # handle ")?;
        let (_, comment) = text.rsplit_once(" comment ")?;
        let command =
            format!("nft replace rule inet postern {chain} handle {handle} accept comment {comment}");
        return Some((command, Drift::ChainChanged(None, chain.to_owned())));
    }
    let program = backend.programs()[0];
    let listing = run(&format!("{program} -S {chain}"));
    // The first line makes the chain.
    listing.lines().nth(position + 1)?;
    let drift = Drift::ChainChanged(Some(Family::V4), chain.to_owned());
    Some((format!("{program} -R {chain} {} -j ACCEPT", position + 1), drift))
}

/// Each rule in its turn lets everything through, in its place and under its comment.
fn a_rule_that_does_something_else_is_seen(backend: Backend) {
    for chain in ["POSTERN", "POSTERN-GATE"] {
        in_lab(move |lab| {
            let rules = are_seen_and_repaired(lab, backend, |number| accepting(backend, chain, number));
            assert!(rules > 1, "{chain} has more rules than {rules}");
        });
    }
}

fn a_set_that_is_gone_is_named(backend: Backend) {
    in_lab(move |_| {
        let rules = rules(&[&[SSH]]);
        let mut gate = backend.gate();
        gate.install(&rules);
        let sets = if backend == Backend::Nftables {
            run("nft delete table inet postern");
            ["granted4", "granted6"]
        } else {
            for program in backend.programs() {
                run(&format!("{program} -F"));
            }
            // The kernel releases the sets of deleted rules a little later.
            for set in ["POSTERN-GRANT4", "POSTERN-GRANT6"] {
                crate::lab::wait_until("a set to be released", || {
                    let output =
                        std::process::Command::new("/usr/sbin/ipset").args(["destroy", set]).output();
                    output.unwrap().status.success()
                });
            }
            ["POSTERN-GRANT4", "POSTERN-GRANT6"]
        };
        let found = gate.verify(&rules);
        for (net, set) in nets().into_iter().zip(sets) {
            assert!(found.drifts().contains(&Drift::SetMissing(set.to_owned())), "{found}");
            assert_eq!(gate.open(net.friend, &[SSH], 60), Err(FirewallError::Missing));
            assert_eq!(gate.close(net.friend, &[SSH]), Err(FirewallError::Missing));
        }
        gate.install(&rules);
        assert_eq!(gate.verify(&rules).to_string(), "as installed");
    });
}
