//! `owner ...`: the key that stays offline. It signs configurations for a fleet, and lets somebody in
//! whose secret is lost.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ed25519_dalek::{Signer, SigningKey};
use postern_config::signed::{BreakGlass, FleetConfig, SIGNATURE_BYTES};
use postern_config::spelled::{self, CHALLENGE_BYTES, Spelled};
use postern_config::update::Manifest;
use postern_console::rpc::request::OwnerSignature;
use postern_hal_linux::random::random;
use serde_json::json;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::base64;
use crate::remote::answer::Answer;
use crate::remote::failure::{Failure, Outcome};
use crate::remote::{Json, site_of, text_of, transfer};
use crate::site::notation::{digits, hex, owner_text, unhex};
use crate::update_file::UpdateFile;
use crate::whole_file;

/// First line of a key file.
const KEY_HEAD: &str = "# Owner key of Postern: keep it offline";

#[derive(Debug, Subcommand)]
pub(crate) enum OwnerCommand {
    /// Make an owner key; prints the `owner` of the site file
    New(NewArgs),
    /// Sign a site file, to be applied with `config apply --signature`
    SignConfig(SignConfigArgs),
    /// Sign an update of the whole system, to be brought with `update apply`
    SignUpdate(SignUpdateArgs),
    /// Turn the challenge that a console shows into the token that lets somebody in
    SignBreakGlass(BreakGlassArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// File for the key; it must not be there yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct SignConfigArgs {
    /// The site file
    site: PathBuf,
    /// The owner key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Security floor the gateway is raised to: it takes nothing older afterwards
    #[arg(long)]
    floor: u32,
    /// Only for the device with this id, see `status`; otherwise for every one of this owner
    #[arg(long, value_name = "ID", value_parser = crate::remote::device)]
    device: Option<[u8; 16]>,
    /// File for the signature
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct SignUpdateArgs {
    /// The update, as `cargo xtask image` made it
    update: PathBuf,
    /// The owner key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File for the signed update
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct BreakGlassArgs {
    /// The challenge, in groups, as the console shows it
    #[arg(required = true, value_name = "GROUP")]
    challenge: Vec<String>,
    /// The owner key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    json: Json,
}

impl OwnerCommand {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            OwnerCommand::New(_) => "owner new",
            OwnerCommand::SignConfig(_) => "owner sign-config",
            OwnerCommand::SignUpdate(_) => "owner sign-update",
            OwnerCommand::SignBreakGlass(_) => "owner sign-break-glass",
        }
    }

    pub(crate) const fn is_json(&self) -> bool {
        match self {
            OwnerCommand::New(args) => args.json.json,
            OwnerCommand::SignConfig(args) => args.json.json,
            OwnerCommand::SignUpdate(args) => args.json.json,
            OwnerCommand::SignBreakGlass(args) => args.json.json,
        }
    }
}

/// Carries it out; asks no gateway.
pub(crate) fn run(command: &OwnerCommand) -> Outcome<Answer> {
    match command {
        OwnerCommand::New(args) => new(args),
        OwnerCommand::SignConfig(args) => sign_config(args),
        OwnerCommand::SignUpdate(args) => sign_update(args),
        OwnerCommand::SignBreakGlass(args) => sign_break_glass(args),
    }
}

fn new(args: &NewArgs) -> Outcome<Answer> {
    let mut seed: [u8; 32] = random().map_err(|error| Failure::failed("no random numbers", error))?;
    let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
    let text = format!("{KEY_HEAD}\n{}\n", base64::encode(&seed));
    seed.zeroize();
    let path = &args.output;
    whole_file::write_secret(path, text.as_bytes())
        .map_err(|error| Failure::failed(&format!("cannot write {}", path.display()), error))?;
    let owner = owner_text(&public);
    let answer = Answer::show(json!({ "owner": owner, "key": path }), format!("owner = \"{owner}\"\n"));
    let note = format!("the key is in {}: keep it, and a copy of it, offline", path.display());
    Ok(Answer { note, ..answer })
}

fn key(path: &Path) -> Outcome<SigningKey> {
    let shown = path.display();
    let metadata =
        path.metadata().map_err(|error| Failure::failed(&format!("cannot read {shown}"), error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Failure::Usage(format!("others may read the owner key in {shown}: chmod 600 {shown}")));
    }
    let text = text_of(path)?;
    let seed = text.strip_prefix(KEY_HEAD).and_then(|rest| base64::decode_array(rest.trim()));
    let mut seed: [u8; 32] = seed.ok_or_else(|| Failure::Usage(format!("{shown} is no owner key")))?;
    let key = SigningKey::from_bytes(&seed);
    seed.zeroize();
    Ok(key)
}

fn sign_config(args: &SignConfigArgs) -> Outcome<Answer> {
    let site = site_of(&text_of(&args.site)?, &args.site)?;
    let digest = ConfigSignature::digest(&transfer::payload(&site)?);
    let config = FleetConfig { device: args.device, floor: args.floor, digest };
    let signature = key(&args.key)?.sign(&config.message()).to_bytes();
    let signed = ConfigSignature { config, signature };
    let path = &args.output;
    whole_file::write(path, signed.write().as_bytes())
        .map_err(|error| Failure::failed(&format!("cannot write {}", path.display()), error))?;
    let fields = json!({
        "digest": hex(&digest),
        "floor": args.floor,
        "device": args.device.map(|device| hex(&device)),
        "signature": path,
    });
    Ok(Answer::done(fields, format!("the signature is in {}", path.display())))
}

/// What is signed is compared with what it says it is: nobody signs what is damaged.
fn sign_update(args: &SignUpdateArgs) -> Outcome<Answer> {
    let update = UpdateFile::read(&args.update).map_err(Failure::Mismatch)?;
    let signature = key(&args.key)?.sign(&update.manifest.message()).to_bytes();
    let signed = update.with_signature(&signature);
    let path = &args.output;
    whole_file::write(path, &signed.bytes())
        .map_err(|error| Failure::failed(&format!("cannot write {}", path.display()), error))?;
    let Manifest { board, release, version, .. } = &signed.manifest;
    let fields = json!({
        "board": board.as_str(), "release": release, "version": version.as_str(), "update": path,
    });
    Ok(Answer::done(fields, format!("release {release} for {board} is signed: {}", path.display())))
}

fn sign_break_glass(args: &BreakGlassArgs) -> Outcome<Answer> {
    let mut octets = [0; CHALLENGE_BYTES];
    spelled::read(&args.challenge.join(" "), &mut octets)
        .map_err(|error| Failure::Usage(format!("the challenge is misspelled: {error}")))?;
    let (Some(device), Some(nonce)) = (octets.first_chunk::<16>(), octets.last_chunk::<16>()) else {
        return Err(Failure::Usage("the challenge is too short".to_owned()));
    };
    let message = BreakGlass { device: *device, nonce: *nonce }.message();
    let token = Spelled(&key(&args.key)?.sign(&message).to_bytes()).to_string();
    let fields = json!({ "device": hex(device), "token": token.replace('\n', " ") });
    let answer = Answer::show(fields, format!("{token}\n"));
    let note = format!("for device {} alone, and for one use", hex(device));
    Ok(Answer { note, ..answer })
}

/// An owner's signature over a configuration, in a file.
///
/// ```text
/// postern config signature 1
/// digest 64 hexadecimal digits
/// floor 3
/// device any
/// signature base64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigSignature {
    /// What is signed.
    pub config: FleetConfig,
    /// The signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl ConfigSignature {
    /// What is signed of a payload.
    pub fn digest(payload: &[u8]) -> [u8; 32] {
        Sha256::digest(payload).into()
    }

    /// The file.
    pub fn write(&self) -> String {
        let FleetConfig { device, floor, digest } = &self.config;
        let device = device.map_or("any".to_owned(), |device| hex(&device));
        let (digest, signature) = (hex(digest), base64::encode(&self.signature));
        format!(
            "postern config signature 1\ndigest {digest}\nfloor {floor}\ndevice {device}\nsignature {signature}\n"
        )
    }

    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let mut next = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let signature = (|| {
            next("postern config signature").filter(|version| *version == "1")?;
            let digest = unhex(next("digest")?)?.try_into().ok()?;
            let floor = digits(next("floor")?)?;
            let device = match next("device")? {
                "any" => None,
                id => Some(unhex(id)?.try_into().ok()?),
            };
            let signature = base64::decode_array(next("signature")?)?;
            Some(Self { config: FleetConfig { device, floor, digest }, signature })
        })();
        signature.ok_or_else(|| {
            "it is no signature of a configuration: `postern owner sign-config` makes them".into()
        })
    }

    /// As the gateway takes it.
    pub fn for_gateway(&self) -> OwnerSignature {
        let FleetConfig { device, floor, .. } = self.config;
        let half = |from: usize| std::array::from_fn(|at| self.signature[from + at]);
        OwnerSignature { device, floor, signature_r: half(0), signature_s: half(SIGNATURE_BYTES / 2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_comes_back_from_its_file() {
        for device in [None, Some([7; 16])] {
            let config = FleetConfig { device, floor: 3, digest: [9; 32] };
            let signed = ConfigSignature { config, signature: std::array::from_fn(|at| at.to_le_bytes()[0]) };
            assert_eq!(ConfigSignature::read(&signed.write()), Ok(signed));
            assert_eq!(signed.for_gateway().signature_s[0], 32);
        }
        assert!(ConfigSignature::read("postern config signature 2\n").is_err());
    }
}
