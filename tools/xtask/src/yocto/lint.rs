//! Linters: recipes by oelint-adv, kas files by kas' own schema, bitbake-setup's by our reading of it, units by
//! systemd-analyze, scripts by shellcheck.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::build::Built;
use super::{Yocto, crates};
use crate::command;

/// Recipes and classes of our layers, the generated include left out.
pub(super) fn oelint(yocto: &Yocto) -> Result<String> {
    let mut files = Vec::new();
    for layer in super::bitbake::LAYERS {
        files.extend(recipes(yocto, layer)?);
    }
    ensure!(!files.is_empty(), "there is no recipe");
    let constants = yocto.layers().join("oelint.constants.json");
    let mut lint = Command::new(yocto.program("oelint-adv"));
    lint.args(["--quiet", "--relpaths", "--hide", "info", "--jobs", "1"]).args(&files);
    lint.arg("--constantmods").arg(format!("+{}", constants.display()));
    // .oelint.cfg is read from there.
    let output = lint.current_dir(yocto.layers()).output().context("cannot start oelint-adv")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "oelint-adv finds:\n{}", String::from_utf8_lossy(&said));
    Ok(format!("{} files without a finding", files.len()))
}

/// Recipes of a layer and what they are made of, the generated include left out.
pub(super) fn recipes(yocto: &Yocto, layer: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    walk(&yocto.layers().join(layer), &mut files)?;
    let include = yocto.layers().join(crates::INCLUDE);
    let is_recipe = |path: &PathBuf| {
        let endings = ["bb", "bbappend", "bbclass", "inc"];
        let of_recipe = path.extension().is_some_and(|end| endings.iter().any(|one| end == *one));
        of_recipe && *path != include && !path.components().any(|part| part.as_os_str() == "conf")
    };
    files.retain(is_recipe);
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// Reads YAML files, checks them by kas' own schema, and prints them as JSON.
const KAS: &str = "
import json, os, sys, yaml, jsonschema, kas
schema = json.load(open(os.path.join(os.path.dirname(kas.__file__), 'schema-kas.json')))
texts = {path: yaml.safe_load(open(path)) for path in sys.argv[1:]}
for path, text in texts.items():
    try:
        jsonschema.validate(text, schema)
    except jsonschema.ValidationError as error:
        sys.exit('%s: %s' % (path, error.message))
print(json.dumps(texts))
";

/// The kas files: their schema, files they include, machines and layers that are there.
pub(super) fn kas(yocto: &Yocto) -> Result<String> {
    let mut files = Vec::new();
    walk(&yocto.layers().join("kas"), &mut files)?;
    ensure!(!files.is_empty(), "there is no kas file");
    let texts = command::output(Command::new(yocto.python()).args(["-c", KAS]).args(&files))?;
    let texts: Value = serde_json::from_str(&texts).context("kas files are not JSON")?;
    let machines = super::parse::machines(yocto)?;
    for (path, text) in texts.as_object().into_iter().flatten() {
        for include in text["header"]["includes"].as_array().into_iter().flatten() {
            let name = include.as_str().unwrap_or_default();
            ensure!(yocto.workspace.root.join(name).exists(), "{path}: there is no {name}");
        }
        if let Some(machine) = text["machine"].as_str() {
            ensure!(machines.iter().any(|one| one == machine), "{path}: there is no machine {machine}");
        }
        for name in text["repos"]["postern"]["layers"].as_object().into_iter().flat_map(serde_json::Map::keys)
        {
            let conf = yocto.workspace.root.join(name).join("conf/layer.conf");
            ensure!(conf.exists(), "{path}: there is no layer {name}");
        }
        for (name, repository) in text["repos"].as_object().into_iter().flatten() {
            // The mixin has no release that is known to be new enough: its file says what to look for.
            let fixed = repository["commit"].is_string() || name == "meta-lts-mixins";
            ensure!(repository["url"].is_null() || fixed, "{path}: {name} has no commit");
        }
    }
    Ok(format!("{} files fit kas' schema, machines and layers are there", files.len()))
}

/// The configuration of bitbake-setup; its schema is not in the package, so this is what bitbake-setup's code reads.
pub(super) fn setup(yocto: &Yocto) -> Result<String> {
    let mut files = Vec::new();
    walk(&yocto.layers().join("setup"), &mut files)?;
    let machines = super::parse::machines(yocto)?;
    let mut configurations = 0;
    for path in &files {
        let name = path.display();
        ensure!(
            path.to_string_lossy().ends_with(".conf.json"),
            "{name} is no configuration of bitbake-setup"
        );
        let text: Value =
            serde_json::from_str(&fs::read_to_string(path)?).with_context(|| format!("{name}"))?;
        let only = |value: &Value, keys: &[&str]| -> Result<()> {
            for key in value.as_object().into_iter().flat_map(serde_json::Map::keys) {
                ensure!(keys.contains(&key.as_str()), "{name}: bitbake-setup knows no {key}");
            }
            Ok(())
        };
        only(&text, &["description", "sources", "expires", "bitbake-setup", "version"])?;
        ensure!(
            text["version"] == "1.0" && text["description"].is_string(),
            "{name}: no version 1.0 or no description"
        );
        for (source, how) in text["sources"].as_object().into_iter().flatten() {
            only(how, &["git-remote", "local"])?;
            let remote = &how["git-remote"];
            let complete = ["uri", "branch", "rev"].iter().all(|key| remote[*key].is_string());
            ensure!(how["local"].is_object() || complete, "{name}: {source} has no uri, branch and rev");
        }
        for one in text["bitbake-setup"]["configurations"].as_array().into_iter().flatten() {
            let keys = [
                "bb-layers",
                "bb-layers-file-relative",
                "name",
                "description",
                "oe-fragments",
                "oe-fragments-one-of",
                "oe-template",
                "setup-dir-name",
            ];
            only(one, &keys)?;
            for layer in one["bb-layers-file-relative"].as_array().into_iter().flatten() {
                let folder = yocto.layers().join("setup").join(layer.as_str().unwrap_or_default());
                ensure!(folder.join("conf/layer.conf").exists(), "{name}: there is no layer {layer}");
            }
            for option in one["oe-fragments-one-of"]["machine"]["options"].as_array().into_iter().flatten() {
                let machine = option["name"].as_str().unwrap_or_default().trim_start_matches("machine/");
                ensure!(machines.iter().any(|one| one == machine), "{name}: there is no machine {machine}");
            }
            configurations += 1;
        }
    }
    ensure!(configurations > 0, "there is no configuration");
    Ok(format!("{configurations} configurations in {} files", files.len()))
}

/// The units as they are installed, by systemd's own reading of them.
pub(super) fn units(yocto: &Yocto) -> Result<String> {
    let built = Built::open(yocto, "systemd");
    let root = yocto.folder.join("units");
    let _ = fs::remove_dir_all(&root);
    let folder = root.join("usr/lib/systemd/system");
    fs::create_dir_all(&folder)?;
    let mut units = Vec::new();
    for recipe in ["postern", "postern-boot", "postern-storage"] {
        for path in built.files(recipe, "usr/lib/systemd/system")? {
            let name = path.file_name().context("a unit has a name")?.to_string_lossy().into_owned();
            let text = fs::read_to_string(&path)?;
            ensure!(
                !text.contains("@SBINDIR@") && !text.contains("@LIBEXECDIR@"),
                "{name}: a place is not filled in"
            );
            // Programs are not installed on this machine; their lines are read all the same.
            let text = text.lines().map(stand_in).collect::<Vec<_>>().join("\n") + "\n";
            fs::write(folder.join(&name), text)?;
            units.push(folder.join(name.replace("@.", "@ttyS0.")));
            if name.contains('@') {
                fs::copy(folder.join(&name), folder.join(name.replace("@.", "@ttyS0.")))?;
            }
        }
    }
    ensure!(units.len() >= 5, "there are only {} units", units.len());
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]).args(&units);
    let output = verify.output().context("no systemd-analyze; it is in Debian's package systemd")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| units.iter().any(|unit| names(line, unit))).collect();
    ensure!(ours.is_empty() && output.status.success(), "systemd-analyze verify:\n{said}");
    let exposure = exposure(&folder.join("posternd.service"))?;
    ensure!(exposure <= EXPOSURE_MAX, "posternd.service is exposed to {exposure}, more than {EXPOSURE_MAX}");
    Ok(format!("{} verified; exposure of posternd.service {exposure} of 10", units.len()))
}

/// What `systemd-analyze security` may say of the daemon's unit, 10 being no protection at all.
const EXPOSURE_MAX: f64 = 4.0;

fn names(line: &str, unit: &Path) -> bool {
    unit.file_name().is_some_and(|name| line.contains(&*name.to_string_lossy()))
}

fn stand_in(line: &str) -> String {
    let Some((key, command)) = line.split_once('=').filter(|(key, _)| key.starts_with("Exec")) else {
        return line.to_owned();
    };
    let arguments = command.split_once(' ').map_or("", |(_, arguments)| arguments);
    format!("{key}=/bin/true {arguments}")
}

fn exposure(unit: &Path) -> Result<f64> {
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=yes", "--no-pager"]).arg(unit);
    let said = command::output(&mut security)?;
    let line = said.lines().find(|line| line.contains("Overall exposure level")).context("no exposure")?;
    let number = line.rsplit(": ").next().and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    number.parse().with_context(|| format!("cannot read {line}"))
}

/// Every script, as it is installed, by shellcheck and by a strict shell.
pub(super) fn scripts(yocto: &Yocto) -> Result<String> {
    let mut scripts = Vec::new();
    for init in ["systemd", "sysvinit"] {
        let built = Built::open(yocto, init);
        for recipe in ["postern", "postern-boot", "postern-storage"] {
            for folder in ["etc/init.d", "usr/libexec/postern", "etc/default"] {
                scripts.extend(built.files(recipe, folder)?);
            }
        }
    }
    // And those that are not installed here.
    walk(&yocto.layers(), &mut scripts)?;
    scripts.retain(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.starts_with("#!/bin/sh") || path.to_string_lossy().contains("/etc/default/")
    });
    ensure!(scripts.len() >= 10, "there are only {} scripts", scripts.len());
    for script in &scripts {
        let text = fs::read_to_string(script)?;
        let installed = script.starts_with(&yocto.folder);
        ensure!(
            !installed || !text.contains("@LIBEXECDIR@"),
            "{}: a place is not filled in",
            script.display()
        );
        command::output(Command::new("dash").arg("-n").arg(script))?;
    }
    let mut check = Command::new("shellcheck");
    // Files that are read at run time only, and variables of those.
    check.args(["--shell=sh", "--exclude=SC1090,SC1091,SC2034,SC2154"]).args(&scripts);
    let output = check.output().context("no shellcheck; it is in Debian's package shellcheck")?;
    ensure!(output.status.success(), "shellcheck:\n{}", String::from_utf8_lossy(&output.stdout));
    Ok(format!("{} scripts without a finding", scripts.len()))
}
