//! Users and groups: names, numbers, homes and shells of the Yocto image are those of the reference image.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::Yocto;
use super::bitbake::{DISTRO, Job};
use super::build::Built;

/// A user: number, group, home, shell.
type User = [String; 4];

pub(super) fn check(yocto: &Yocto) -> Result<String> {
    let (image_users, image_groups) = (
        users(&yocto.read("image/files/root/etc/passwd")?),
        groups(&yocto.read("image/files/root/etc/group")?),
    );
    let layer = "yocto-layer/meta-postern-distro/files";
    let (table, group_table) = (
        users(&yocto.read(&format!("{layer}/postern-passwd"))?),
        groups(&yocto.read(&format!("{layer}/postern-group"))?),
    );
    for (name, user) in image_users.iter().filter(|(name, _)| *name != "root") {
        let there = table.get(name).with_context(|| format!("postern-passwd has no user {name}"))?;
        ensure!(there == user, "user {name} is {there:?} in postern-passwd, {user:?} in the reference image");
    }
    for (name, number) in image_groups.iter().filter(|(name, _)| *name != "root") {
        ensure!(
            group_table.get(name) == Some(number),
            "group {name} has not number {number} in postern-group"
        );
    }
    unique(table.values().map(|user| &user[0]))?;
    unique(group_table.values())?;
    made(yocto, &image_users)?;
    let base = Built::open(yocto, "systemd").read("base-passwd", "usr/share/base-passwd/group.master")?;
    for (name, number) in groups(&base).iter().filter(|(name, _)| *name != "root") {
        ensure!(
            !image_groups.values().any(|one| one == number),
            "{name} of base-passwd has the number {number} as well"
        );
    }
    Ok(format!("{} users and {} groups are the reference image's", image_users.len(), image_groups.len()))
}

fn unique<'a>(numbers: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut seen: Vec<&String> = Vec::new();
    for number in numbers {
        ensure!(!seen.contains(&number), "number {number} stands twice");
        seen.push(number);
    }
    Ok(())
}

/// The users are made by our recipes and image, and with what the tables say.
fn made(yocto: &Yocto, image: &BTreeMap<String, User>) -> Result<()> {
    let mut job = Job::new(yocto, "users", "postern-qemuarm64", DISTRO, "systemd");
    job.variables = vec![
        ("postern", vec!["USERADD_PARAM:postern-console", "GROUPADD_PARAM:posternd"]),
        ("postern-image", vec!["EXTRA_USERS_PARAMS"]),
        ("postern-image-dev", vec!["EXTRA_USERS_PARAMS"]),
        ("", vec!["USERADDEXTENSION", "USERADD_UID_TABLES", "USERADD_GID_TABLES"]),
    ];
    let answer = job.run(yocto)?;
    ensure!(answer.variable("", "USERADDEXTENSION") == "useradd-staticids", "numbers are not fixed");
    for (variable, file) in
        [("USERADD_UID_TABLES", "postern-passwd"), ("USERADD_GID_TABLES", "postern-group")]
    {
        ensure!(answer.variable("", variable) == format!("files/{file}"), "{variable} is not files/{file}");
    }
    ensure!(
        answer.variable("postern", "GROUPADD_PARAM:posternd").ends_with(" postern"),
        "posternd has no group postern"
    );
    let extra = answer.variable("postern-image", "EXTRA_USERS_PARAMS");
    for (name, line) in
        [("console", answer.variable("postern", "USERADD_PARAM:postern-console")), ("service", extra)]
    {
        let user = image.get(name).with_context(|| format!("the reference image has no user {name}"))?;
        for (option, value) in [("--home-dir", &user[2]), ("--shell", &user[3])] {
            ensure!(
                line.contains(&format!("{option} {value} ")),
                "{name} is made without {option} {value}: {line}"
            );
        }
    }
    let service = image.get("service").context("the reference image has no user service")?;
    for wanted in
        [format!("--uid {}", service[0]), format!("--gid {}", service[1]), "--password '*'".to_owned()]
    {
        ensure!(extra.contains(&wanted), "service is made without {wanted}: {extra}");
    }
    let root = image.get("root").context("the reference image has no root")?;
    ensure!(
        extra.contains(&format!("usermod --shell {} root", root[3])),
        "root has another shell than in the reference image"
    );
    Ok(())
}

fn users(passwd: &str) -> BTreeMap<String, User> {
    let fields = passwd.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    let user = |fields: Vec<String>| match &fields[..] {
        [name, _, number, group, _, home, shell] => {
            Some((name.clone(), [number.clone(), group.clone(), home.clone(), shell.clone()]))
        }
        _ => None,
    };
    fields.filter_map(user).collect()
}

fn groups(group: &str) -> BTreeMap<String, String> {
    let mut groups = BTreeMap::new();
    for line in group.lines() {
        let mut fields = line.split(':');
        if let (Some(name), _, Some(number)) = (fields.next(), fields.next(), fields.next()) {
            groups.insert(name.to_owned(), number.to_owned());
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let users = users("root:x:0:0:root:/:/bin/false\nbad\nservice:x:1000:1000:s:/data/service:/bin/sh\n");
        assert_eq!(users.len(), 2);
        assert_eq!(users["service"], ["1000", "1000", "/data/service", "/bin/sh"].map(str::to_owned));
        assert_eq!(groups("root:x:0:\npostern:x:100:\n")["postern"], "100");
        assert!(unique(["1".to_owned(), "2".to_owned(), "1".to_owned()].iter()).is_err());
    }
}
