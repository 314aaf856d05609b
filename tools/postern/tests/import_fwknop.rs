//! Whole files of a stock fwknopd against golden site files and findings, and against garbage.
//!
//! `BLESS=1 cargo test -p postern --test import_fwknop` writes the golden files anew; look at the
//! difference before committing it.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use postern::compile::{Secrets, stored};
use postern::finding::{Finding, Severity};
use postern::import::fwknop::{Imported, import_fwknop, without_secrets};
use postern_config::secret::StoredSecret;
use postern_config::site::StoredKeyKind;
use postern_core::spa::fwknop::{FwknopKey, MacDigest, Verdict, Verifier};
use postern_core::spa::key::DeviceId;
use postern_core::spa::native::Arrival;
use postern_core::spa::policy::Policy;
use postern_core::time::Instant;

const NOW: u64 = 1_795_000_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/fwknop")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).unwrap()
}

fn import(name: &str) -> Imported {
    import_fwknop(&text(&format!("{name}.access")), &text(&format!("{name}.server")), NOW)
}

/// One finding a line, as in a compiler's output.
fn listing(imported: &Imported) -> String {
    let mut text = String::new();
    let mut list = |file: &str, findings: &[Finding]| {
        for Finding { line, column, severity, code, message, .. } in findings {
            let severity = severity.name();
            writeln!(text, "{file}:{line}:{column}: {severity}[{code}]: {message}").unwrap();
        }
    };
    list("access.conf", &imported.access);
    list("fwknopd.conf", &imported.server);
    text
}

fn golden(file: &str, actual: &str) {
    let path = folder().join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{file} differs");
}

#[test]
fn golden_files() {
    for name in ["typical", "refused"] {
        let imported = import(name);
        golden(&format!("{name}.toml"), &imported.site_toml);
        golden(&format!("{name}.findings"), &listing(&imported));
    }
}

#[test]
fn what_is_clean_is_imported_and_what_is_weak_is_not() {
    let typical = import("typical");
    assert!(!typical.refused_any(), "{}", listing(&typical));
    assert_eq!((typical.keys, typical.refused), (4, 0));
    let refused = import("refused");
    assert_eq!((refused.keys, refused.refused), (1, 22), "{}", listing(&refused));
}

#[test]
fn the_tool_reads_what_it_wrote() {
    for name in ["typical", "refused"] {
        let imported = import(name);
        let (site, findings) = postern::site::read(&imported.site_toml);
        let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        let site = site.unwrap();
        assert_eq!(site.keys.len(), imported.keys, "{name}");
        assert!(site.doors.iter().all(|door| !door.spa.is_empty()), "{name}: a door nobody opens");
    }
}

/// What people must not see on a terminal, in a log, or in the site file.
#[test]
fn no_secret_is_shown() {
    for name in ["typical", "refused"] {
        let access = text(&format!("{name}.access"));
        let imported = import(name);
        let shown = without_secrets(&access);
        assert_eq!(shown.lines().count(), access.lines().count(), "places are those of the file");
        let secrets = access.lines().filter_map(|line| {
            let (directive, value) = line.split_once([' ', '\t'])?;
            let secret = directive.contains("KEY") || directive.ends_with("_PW");
            // Two are words of messages too.
            (secret && directive != "%include_keys" && value.len() > 5).then_some(value.trim())
        });
        for secret in secrets {
            for text in [&imported.site_toml, &listing(&imported), &shown] {
                assert!(!text.contains(secret), "{name}: {secret}");
            }
        }
        assert!(!format!("{imported:?}").contains("passphrase that"), "{name}");
    }
}

#[test]
fn secrets_are_those_of_the_clients() {
    let typical = import("typical");
    let octets = |path: &str| &typical.secrets.iter().find(|file| file.path == path).unwrap().octets;
    assert_eq!(octets("keys/stanza-12.key"), b"a passphrase of one technician");
    assert_eq!(octets("keys/stanza-12.hmac"), b"another passphrase, for the HMAC");
    assert_eq!(octets("keys/stanza-23.key"), &(0..32).collect::<Vec<u8>>());
    assert_eq!(octets("keys/stanza-23.hmac"), &(32..64).collect::<Vec<u8>>());
}

/// From access.conf to a packet of the stock client, which counts.
#[test]
fn an_imported_key_reads_the_packets_of_its_client() {
    let typical = import("typical");
    let (file, _) = postern::site::read(&typical.site_toml);
    let site = stored(&file.unwrap(), &Secrets::Given(&typical.secrets)).unwrap();
    let StoredKeyKind::Fwknop {
        encryption: StoredSecret::Known(encryption),
        hmac: StoredSecret::Known(hmac),
        ..
    } = &site.keys[0].kind
    else {
        panic!("no key of a stock client");
    };
    let key = FwknopKey::new(encryption.expose(), hmac.expose(), MacDigest::Sha256).unwrap();
    let mut verifier = Verifier::new(DeviceId([7; 16]));
    verifier.add(&key, Policy::default(), 0).unwrap();
    let arrival = Arrival { seen_from: [192, 0, 2, 55].into(), at: Instant::BOOT, wall: None };
    let doors = [];
    let Ok(Verdict::Waiting(waiting)) = verifier.verify(PACKET.as_bytes(), arrival, &doors) else {
        panic!("it is not genuine");
    };
    assert_eq!(waiting.ceiling, 1_795_384_186 + 4);
}

/// "base64 keys" of the vectors of the core.
const PACKET: &str = "+Zm2zukGt7W0kYeF10g30VAawzbh7iTYMIP3u8wRw57pPorzhhH5C32Rhl36h4SfeMFC90mabe/SXGSz+Ql7pORMvSccZHd\
                      Qn9yyPEF+EBeKIfxxmpPYTEQmPivTD8MOZvNnY1BE2lw1wk6ZMVo6EiYRSztZCpkQSe2eCHxrruD80jpjfPdI0dT9iuoDEe6mV04\
                      ClZzYkP1WaTfhTx+0CrCZRPAJ0epHM";

#[test]
fn weak_secrets_are_not_compiled_either() {
    let typical = import("typical");
    let (file, _) = postern::site::read(&typical.site_toml);
    let file = file.unwrap();
    let refused = |path: &str, octets: &[u8]| {
        let mut secrets = typical.secrets.clone();
        let secret = secrets.iter_mut().find(|secret| secret.path == path).unwrap();
        secret.octets = octets.to_vec();
        stored(&file, &Secrets::Given(&secrets)).unwrap_err().to_string()
    };
    assert!(refused("keys/stanza-4.key", &[7; 15]).contains("15 octets, not 16 to 32"));
    assert!(refused("keys/stanza-4.key", &[7; 33]).contains("33 octets, not 16 to 32"));
    assert!(refused("keys/stanza-4.hmac", &[7; 15]).contains("15 octets, not 16 to 128"));
    let own = &typical.secrets.iter().find(|secret| secret.path == "keys/stanza-23.key").unwrap().octets;
    assert!(refused("keys/stanza-23.hmac", own).contains("is the encryption key too"));
}

#[test]
fn the_program_writes_keys_for_their_owner_alone() {
    let folder = std::env::temp_dir().join(format!("postern-import-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let site = folder.join("site.toml");
    let run = |more: &[&str]| {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_postern"));
        program.args(["import", "--fwknop"]).arg(self::folder().join("typical.access"));
        program.arg(self::folder().join("typical.server")).arg("--output").arg(&site).args(more);
        program.output().unwrap()
    };
    let first = run(&[]);
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    let said = String::from_utf8(first.stderr).unwrap();
    assert!(said.contains("keys imported: 4; stanzas refused: 0"), "{said}");
    let key = folder.join("keys/stanza-23.key");
    assert_eq!(std::fs::read_to_string(&key).unwrap().trim(), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(run(&[]).status.code(), Some(1), "nothing is replaced unasked");
    assert_eq!(run(&["--force"]).status.code(), Some(0));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }
}

/// Lines and octets of good files in any order: whatever comes of it is a site file that can be read, and
/// shows no secret.
#[test]
fn garbage_makes_no_site_that_cannot_be_read() {
    let access = text("typical.access") + &text("refused.access");
    let lines: Vec<&str> = access.lines().collect();
    let server = text("typical.server");
    let mut random = Random(7);
    for _ in 0..400 {
        let mut garbage = String::new();
        for _ in 0..random.below(60) {
            let line = lines[random.below(lines.len())];
            let cut = random.below(line.len() + 1);
            match random.below(6) {
                0 => garbage.push_str(&line[..cut]),
                1 => garbage.extend([line, "\u{202e}\u{1b}[2J"]),
                2 => garbage.extend(["\u{e9};", line]),
                _ => garbage.push_str(line),
            }
            garbage.push('\n');
        }
        let imported = import_fwknop(&garbage, &server, NOW);
        let (site, _) = postern::site::read(&imported.site_toml);
        assert!(site.is_some(), "{garbage}\n{}", imported.site_toml);
        let written = listing(&imported) + &imported.site_toml;
        assert!(written.chars().all(|character| character == '\n' || (' '..='~').contains(&character)));
        let _ = import_fwknop(&garbage, &garbage, NOW);
    }
}
