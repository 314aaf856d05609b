//! The built tool, a site file, a home directory.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use postern_core::spa::key::{DeviceId, KeyTag, KeyUse, SpaKey};
use postern_core::spa::rotating::cursor::rotating_tag;

/// A counter no clock reaches for a long time (2100-01-01): what follows it is the same every day.
pub(crate) const FAR_AHEAD: u64 = 4_102_444_800_000;

/// The secret of all profiles here.
pub(crate) const SECRET: [u8; 32] = [0x5c; 32];

/// The gateway of all profiles here.
pub(crate) const DEVICE: DeviceId = DeviceId([0xac; 16]);

/// The same as people write it.
pub(crate) const DEVICE_TEXT: &str = "acacacacacacacacacacacacacacacac";

const SITE: &str = r#"# Pump station 17
schema = 1

[gateway]
name = "pump-17"
interfaces = ["wwan0"]

[[door]]
name = "ssh"   # for service
ports = ["tcp/22"]
open_for = "30s"
spa = ["maria"]

[[door]]
name = "scada"
ports = ["udp/20000", "tcp/502"]
open_for = "15m"
rotating = { key = "pump", knocks = 4, protocols = ["tcp", "udp"], ports = "20000-29999" }

[[key]]
name = "maria"
person = "maria.m"
secret_file = "keys/maria.key"
longest = "1h"

[[key]]
name = "pump"
secret_file = "keys/maria.key"
"#;

const PROFILES: &str = r#"schema = 1

[[profile]]
name = "spa"
gateway = "127.0.0.1"
door = "ssh"
device = "acacacacacacacacacacacacacacacac"
key_file = "keys/maria.key"
lease = "10m"
claim = ["203.0.113.7"]
probe = "tcp/22"
retry = 2

[[profile]]
name = "rotating"
gateway = "127.0.0.1"
door = "scada"
device = "acacacacacacacacacacacacacacacac"
key_file = "keys/maria.key"
rotating = { knocks = 4, ports = "20000-29999", exclude = ["udp/20000"] }

[[profile]]
name = "fixed"
gateway = "127.0.0.1"
sequence = ["tcp/7351", "udp/24011", "udp/1490"]
delay = "1ms"
"#;

/// A directory with everything in it, removed again.
pub(crate) struct Bench {
    directory: PathBuf,
}

impl Bench {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("postern-client-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let bench = Self { directory };
        bench.write("site.toml", SITE, 0o644);
        let secret = format!("{}\n", postern::base64::encode(&SECRET));
        bench.write("keys/maria.key", &secret, 0o600);
        bench.write(".config/postern/keys/maria.key", &secret, 0o600);
        bench.write(".config/postern/clients.toml", PROFILES, 0o600);
        let key = SpaKey::new(SECRET);
        let last = format!("postern counter 1\nlast {FAR_AHEAD}\n");
        bench.remember(key.tag(DEVICE), &last);
        let row = rotating_tag(&key.derive(KeyUse::Rotation, DEVICE), &"scada".try_into().unwrap());
        bench.remember(row, "postern rotation 1\nknown 7\nfresh 9\nsweep 0\n");
        bench
    }

    /// What the client remembers of a key, since an hour.
    fn remember(&self, tag: KeyTag, text: &str) {
        let name: String = tag.0.iter().map(|octet| format!("{octet:02x}")).collect();
        let name = format!(".local/state/postern/counters/{name}");
        self.write(&name, text, 0o600);
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(self.path(&name)).unwrap().set_modified(hour_ago).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        self.mode(name, mode);
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The tool, in the directory, without a terminal and with nobody else's settings.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .env("HOME", &self.directory);
        for variable in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "POSTERN_PROFILES"] {
            command.env_remove(variable);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_postern"), arguments).output().expect("the tool starts")
    }

    /// Runs it and expects this exit status; returns what it printed and what it said, without the
    /// name of the directory.
    #[track_caller]
    pub(crate) fn expect(&self, arguments: &[&str], status: i32) -> (String, String) {
        let output = self.run(arguments);
        let text = |octets: &[u8]| {
            let text = String::from_utf8(octets.to_vec()).unwrap();
            text.replace(&*self.directory.to_string_lossy(), "HOME")
        };
        let (printed, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{printed}{said}");
        assert!(!said.contains("panicked"), "{said}");
        (printed, said)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Compares with a golden file; `POSTERN_REFRESH=1` writes it anew.
pub(crate) fn golden(name: &str, actual: &str, differences: &mut String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client/golden").join(name);
    if std::env::var_os("POSTERN_REFRESH").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if actual != expected {
        differences.push_str(&format!("--- {name}, wanted:\n{expected}+++ found:\n{actual}"));
    }
}
