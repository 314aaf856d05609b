//! Import of a stock fwknopd: access.conf and fwknopd.conf.
//!
//! [`import_fwknop`] reads both files as fwknopd 2.6 reads them. Every stanza of access.conf becomes a
//! key, every port it opens a door; what cannot be carried over is named, and a stanza that would be
//! weak here, or would let in more than it did, is refused.
//!
//! | step | module |
//! | --- | --- |
//! | lines | `grammar` |
//! | stanzas of access.conf | `stanza` |
//! | secrets of a stanza | `secrets` |
//! | fwknopd.conf | `server` |
//! | the site file | `render` |

use crate::finding::{Finding, Severity};
use crate::site::SecretFile;

mod grammar;
mod render;
mod secrets;
mod server;
mod stanza;

/// What came of an import.
#[derive(Debug)]
pub struct Imported {
    /// The site file: every stanza that could be imported, and comments. No secret is in it.
    pub site_toml: String,
    /// The files of secrets it names.
    pub secrets: Vec<SecretFile>,
    /// What there is to say about access.conf, in its order.
    pub access: Vec<Finding>,
    /// What there is to say about fwknopd.conf, in its order.
    pub server: Vec<Finding>,
    /// Keys in the site file.
    pub keys: usize,
    /// Stanzas that became no key.
    pub refused: usize,
}

impl Imported {
    /// Whether a part of a file was not imported.
    pub fn refused_any(&self) -> bool {
        self.access.iter().chain(&self.server).any(|finding| finding.severity == Severity::Error)
    }
}

/// Reads the texts of an access.conf and of a fwknopd.conf, empty when there is none. `now` is seconds
/// since 1970: packets the clients made before do not count any more.
pub fn import_fwknop(access: &str, server: &str, now: u64) -> Imported {
    let mut access_findings = Vec::new();
    let mut server_findings = Vec::new();
    let server = server::read(grammar::lines(server, &mut server_findings), &mut server_findings);
    let stanzas = stanza::read(grammar::lines(access, &mut access_findings), &mut access_findings);
    let secrets = stanzas.keys.iter().flat_map(|key| key.secrets.files(&key.name)).collect();
    let site_toml = render::site(&stanzas, &server, now);
    for findings in [&mut access_findings, &mut server_findings] {
        findings.sort_by_key(|finding| (finding.line == 0, finding.line, finding.column));
    }
    Imported {
        site_toml,
        secrets,
        access: access_findings,
        server: server_findings,
        keys: stanzas.keys.len(),
        refused: stanzas.refused.len(),
    }
}

/// The text of an access.conf with its secrets struck out, for showing lines of it.
pub fn without_secrets(access: &str) -> String {
    let lines = access.split_inclusive('\n').map(|line| match grammar::line(line, 1) {
        Some(Ok(found)) if secrets::is_secret(found.name.text) => {
            line.replace(found.value.text, "(not shown)")
        }
        // Nobody knows what stands there.
        Some(Err(_)) => "(not shown)\n".to_owned(),
        _ => line.to_owned(),
    });
    lines.collect()
}
