//! The built tool, in a directory of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::gateway::Gateway;

/// A site with two accounts, whose passwords are [`PASSWORD`]; salt and iterations are fixed so that
/// the digest is.
pub(crate) fn site_text() -> String {
    let verifier = verifier();
    format!(
        r#"schema = 1

[gateway]
name = "pump-station-17"
interfaces = ["wwan0", "eth0"]

[[account]]
name = "maria"
role = "admin"
verifier = "{verifier}"

[[account]]
name = "otto"
role = "viewer"
verifier = "{verifier}"

[[door]]
name = "ssh"
ports = ["tcp/22"]
open_for = "30s"
sequence = ["tcp/7351", "tcp/17011", "tcp/3083", "tcp/1490"]

[[door]]
name = "service"
ports = ["tcp/502", "udp/161"]
open_for = "15m"
sequence = ["udp/9313", "tcp/23817", "icmp/211", "tcp/3790"]
"#
    )
}

pub(crate) const PASSWORD: &str = "correct horse battery";

fn verifier() -> &'static str {
    static VERIFIER: OnceLock<String> = OnceLock::new();
    VERIFIER.get_or_init(make_verifier)
}

fn make_verifier() -> String {
    let salt = [9; 16];
    let keys = postern_console::scram::verifier(PASSWORD.as_bytes(), &salt, 4096);
    let base64 = postern::base64::encode;
    format!("SCRAM-SHA-256$4096:{}${}:{}", base64(&salt), base64(&keys.stored_key), base64(&keys.server_key))
}

/// A directory with a gateway's socket in it, removed again.
pub(crate) struct Bench {
    pub(crate) gateway: Gateway,
    directory: PathBuf,
}

impl Bench {
    /// A gateway fresh from the factory, whose peers run as `user`.
    pub(crate) fn new(user: u32) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("postern-remote-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let gateway = Gateway::new();
        gateway.listen(directory.join("control"), user);
        let bench = Self { gateway, directory };
        bench.write("site.toml", &site_text(), 0o644);
        bench.write("password", &format!("{PASSWORD}\n"), 0o600);
        bench
    }

    /// The same with [`site_text`] in force.
    pub(crate) fn configured(user: u32) -> Self {
        let bench = Self::new(user);
        bench.gateway.configure(&site_text());
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs the tool there, without a terminal.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_postern"));
        let tool = tool.args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        tool.output().expect("the tool starts")
    }

    /// Runs it and expects this exit status; returns what it printed and what it said.
    #[track_caller]
    pub(crate) fn expect(&self, arguments: &[&str], status: i32) -> (String, String) {
        let output = self.run(arguments);
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let (printed, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{printed}{said}");
        assert!(!said.contains("panicked"), "{said}");
        (printed, said)
    }

    /// The same at the gateway's own socket.
    #[track_caller]
    pub(crate) fn ask(&self, arguments: &[&str], status: i32) -> (String, String) {
        self.expect(&[&["--to", "unix:control"], arguments].concat(), status)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Compares with a golden file; `POSTERN_REFRESH=1` writes it anew.
pub(crate) fn golden(name: &str, actual: &str, differences: &mut String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/remote/golden").join(name);
    if std::env::var_os("POSTERN_REFRESH").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if actual != expected {
        differences.push_str(&format!("--- {name}, wanted:\n{expected}+++ found:\n{actual}"));
    }
}
