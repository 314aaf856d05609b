//! `--to file:`: an image in the place of a gateway.

use crate::tool::Bench;

#[test]
fn an_image_is_asked_and_changed_like_a_gateway() {
    let bench = Bench::new(0);
    bench.expect(&["compile", "site.toml", "-o", "a.img"], 0);
    let at =
        |arguments: &[&str], status| bench.expect(&[&["--to", "file:a.img"], arguments].concat(), status);
    assert!(at(&["doors"], 0).0.contains("tcp/22"));
    at(&["config", "set", "door.ssh.open_for=45s"], 0);
    at(&["config", "get", "-o", "got.toml"], 0);
    assert!(bench.read("got.toml").starts_with("# Generation 2 of pump-station-17\n"));
    assert!(bench.read("got.toml").contains("open_for = \"45s\""));
    // Labels mean the same in the next process.
    at(&["config", "apply", "got.toml"], 0);
    bench.write("got.toml", &bench.read("got.toml").replace("45s", "46s"), 0o644);
    at(&["config", "apply", "got.toml"], 0);
    at(&["config", "diff", "site.toml"], 9);
    at(&["config", "rollback", "1"], 0);
    at(&["config", "diff", "site.toml"], 0);
    // `show` reads what was written.
    assert!(bench.expect(&["show", "a.img"], 0).0.contains("door ssh"));
}

#[test]
fn what_makes_no_sense_in_an_image_is_refused() {
    let bench = Bench::new(0);
    bench.expect(&["compile", "site.toml", "-o", "a.img"], 0);
    let at =
        |arguments: &[&str], status| bench.expect(&[&["--to", "file:a.img"], arguments].concat(), status);
    at(&["config", "set", "door.ssh.open_for=45s", "--confirm", "10m"], 2);
    at(&["reboot"], 5);
    bench.expect(&["--to", "file:nothing.img", "status"], 4);
    bench.write("short.img", "x", 0o644);
    bench.expect(&["--to", "file:short.img", "status"], 4);
}

#[test]
fn an_image_in_use_is_left_alone() {
    use postern_hal_linux::partition::LinuxPartition;
    let bench = Bench::new(0);
    bench.expect(&["compile", "site.toml", "-o", "a.img"], 0);
    let held = LinuxPartition::open(&bench.path("a.img")).unwrap();
    let (_, said) = bench.expect(&["--to", "file:a.img", "status"], 4);
    assert!(said.contains("in use"), "{said}");
    drop(held);
    bench.expect(&["--to", "file:a.img", "status"], 0);
}

#[test]
fn a_blank_image_is_filled_and_a_signed_site_raises_its_floor() {
    let bench = Bench::new(0);
    std::fs::write(bench.path("a.img"), vec![0; 1 << 20]).unwrap();
    let at =
        |arguments: &[&str], status| bench.expect(&[&["--to", "file:a.img"], arguments].concat(), status);
    assert!(at(&["status"], 0).0.contains("factory"));
    let (owner, _) = bench.expect(&["owner", "new", "-o", "owner.key"], 0);
    bench.expect(&["owner", "new", "-o", "owner.key"], 1);
    let site = bench.read("site.toml").replace("schema = 1\n", &format!("schema = 1\n{owner}"));
    bench.write("site.toml", &site, 0o644);
    at(&["config", "apply", "site.toml"], 0);
    let sign = ["owner", "sign-config", "site.toml", "--key", "owner.key", "-o", "sig"];
    bench.expect(&[&sign[..], &["--floor", "3"]].concat(), 0);
    at(&["config", "apply", "site.toml", "--signature", "sig", "--floor", "4"], 2);
    at(&["config", "apply", "site.toml", "--signature", "sig", "--floor", "3"], 0);
    assert!(at(&["status"], 0).0.contains("floor 3") || at(&["history"], 0).0.contains('3'));
    // For another site, by another owner, for another device: refused.
    bench.write("other.toml", &site.replace("30s", "31s"), 0o644);
    at(&["config", "apply", "other.toml", "--signature", "sig"], 2);
    bench.expect(&["owner", "new", "-o", "stranger.key"], 0);
    let sign = ["owner", "sign-config", "other.toml", "--floor", "4", "-o", "sig"];
    bench.expect(&[&sign[..], &["--key", "stranger.key"]].concat(), 0);
    at(&["config", "apply", "other.toml", "--signature", "sig"], 5);
    let device = "11".repeat(16);
    bench.expect(&[&sign[..], &["--key", "owner.key", "--device", &device]].concat(), 0);
    at(&["config", "apply", "other.toml", "--signature", "sig"], 5);
}

#[test]
fn a_challenge_becomes_a_token() {
    use postern_config::signed::BreakGlass;
    use postern_config::spelled::{Spelled, read};
    let bench = Bench::new(0);
    let (owner, _) = bench.expect(&["owner", "new", "-o", "owner.key"], 0);
    let public = owner.split('"').nth(1).and_then(|text| postern::site::notation::owner(text).ok()).unwrap();
    let challenge: [u8; 32] = std::array::from_fn(|at| at.to_le_bytes()[0]);
    let text = Spelled(&challenge).to_string().to_lowercase().replace('\n', " ");
    let words: Vec<&str> = text.split(' ').collect();
    let (token, said) =
        bench.expect(&[&["owner", "sign-break-glass", "--key", "owner.key"], words.as_slice()].concat(), 0);
    assert!(said.contains("000102030405060708090a0b0c0d0e0f"), "{said}");
    let mut signature = [0; 64];
    read(&token, &mut signature).unwrap();
    let device = *challenge.first_chunk().unwrap();
    let nonce = *challenge.last_chunk().unwrap();
    assert_eq!(BreakGlass { device, nonce }.verify(&public, &signature), Ok(()));
    let wrong = text.replacen('0', "7", 1);
    let (_, said) = bench.expect(&["owner", "sign-break-glass", "--key", "owner.key", &wrong], 2);
    assert!(said.contains("group 1 is wrong"), "{said}");
}
