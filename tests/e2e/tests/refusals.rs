//! What goes wrong is said in one line that tells what to do.

use std::path::{Path, PathBuf};

use postern_e2e::process::{Background, Output};
use postern_e2e::scene::MIXED;
use postern_e2e::{Backend, DoorText, Lab, Namespace, Site, binaries, both_back_ends, gate};

both_back_ends!(
    without_privilege,
    without_the_firewalls_tools,
    without_a_store,
    with_something_that_is_no_store,
    with_a_store_cut_short,
);

/// A gateway that has no daemon yet, and a store for it.
struct Gateway {
    namespace: Namespace,
    store: PathBuf,
    lab: Lab,
}

fn gateway(backend: Backend) -> Gateway {
    let lab = Lab::new().unwrap();
    let namespace = lab.namespace("gateway").unwrap();
    let store = lab.directory().join("gate.store");
    gate::compile(&Site::new(backend).door(DoorText::new("ssh", &["tcp/22"], &MIXED)), &store).unwrap();
    Gateway { namespace, store, lab }
}

impl Gateway {
    /// Runs `posternd`, behind `before`, until it gives up.
    fn refused(&self, before: &[&str], store: &Path) -> Output {
        let program = self.lab.directory().join("posternd");
        // Where everybody may read it, whatever the directories of the build allow.
        std::fs::copy(binaries::path("posternd").unwrap(), &program).unwrap();
        let program = program.to_string_lossy();
        let words: Vec<&str> = before.iter().copied().chain([&*program]).collect();
        let mut command = self.namespace.command(words[0]).unwrap();
        command.args(&words[1..]).arg("--store").arg(store).args(["--log", "stderr"]);
        let mut daemon = Background::start("posternd", &mut command).unwrap();
        let status = daemon.wait_for_end().unwrap_or_else(|error| {
            panic!("it should have given up: {error}\n{}", daemon.stderr().all().join("\n"));
        });
        daemon.output(status)
    }
}

/// Shows that the daemon failed with `code` and one line that holds all of `words`.
fn expect_one_line(output: &Output, code: i32, words: &[&str]) {
    let said = output.stderr.trim_end();
    assert_eq!(output.status.code(), Some(code), "exit status; it said: {said}");
    assert_eq!(said.lines().count(), 1, "one line is wanted, it said:\n{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

fn without_privilege(backend: Backend) {
    let gateway = gateway(backend);
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    expect_one_line(&gateway.refused(&nobody, &gateway.store), 1, &["root"]);
}

fn without_the_firewalls_tools(backend: Backend) {
    let gateway = gateway(backend);
    // A machine on which nothing is installed where these programs are, for this process alone.
    let empty = gateway.lab.directory().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let hide = "mount --bind \"$0\" /usr/sbin && exec \"$@\"";
    let hidden = ["unshare", "--mount", "sh", "-c", hide, &empty.to_string_lossy()];
    let package = match backend {
        Backend::Iptables => "iptables",
        Backend::Nftables => "nftables",
    };
    expect_one_line(&gateway.refused(&hidden, &gateway.store), 1, &["install", package]);
}

fn without_a_store(backend: Backend) {
    let gateway = gateway(backend);
    let missing = gateway.lab.directory().join("missing.store");
    expect_one_line(&gateway.refused(&[], &missing), 3, &["missing.store"]);
}

fn with_something_that_is_no_store(backend: Backend) {
    let gateway = gateway(backend);
    std::fs::write(&gateway.store, "[gateway]\nname = \"a site file, not a store\"\n").unwrap();
    expect_one_line(&gateway.refused(&[], &gateway.store), 3, &["gate.store", "postern compile"]);
}

fn with_a_store_cut_short(backend: Backend) {
    let gateway = gateway(backend);
    let whole = std::fs::read(&gateway.store).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&gateway.store, &whole[..length]).unwrap();
        expect_one_line(&gateway.refused(&[], &gateway.store), 3, &["gate.store", "postern compile"]);
    }
}
