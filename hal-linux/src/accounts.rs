//! Users and groups of this machine, from `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
//!
//! The C library's own look-up asks whatever `nsswitch.conf` names: a statically linked program would
//! load shared libraries for it, and carries a DNS resolver. A gateway's service users are in the files.

use std::fs;

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub user: u32,
    /// Id of its first group.
    pub group: u32,
}

/// The user called `name`, if the file can be read and has it.
pub fn user(name: &str) -> Option<Account> {
    user_in(&fs::read_to_string("/etc/passwd").ok()?, name)
}

/// The first user with the id `number`, if the file can be read and has one.
pub fn user_with(number: u32) -> Option<Account> {
    user_with_in(&fs::read_to_string("/etc/passwd").ok()?, number)
}

/// The id of the group called `name`, if the file can be read and has it.
pub fn group(name: &str) -> Option<u32> {
    group_in(&fs::read_to_string("/etc/group").ok()?, name)
}

/// The ids of the groups that list `name` as a member; none when the file cannot be read.
pub fn groups_of(name: &str) -> Vec<u32> {
    groups_in(&fs::read_to_string("/etc/group").unwrap_or_default(), name)
}

/// The fields of the line that begins with `name`.
fn fields<'t>(text: &'t str, name: &str) -> Option<impl Iterator<Item = &'t str>> {
    text.lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))
}

fn user_in(text: &str, name: &str) -> Option<Account> {
    let mut fields = fields(text, name)?.skip(1);
    Some(Account { user: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

fn user_with_in(text: &str, number: u32) -> Option<Account> {
    let names = text.lines().filter_map(|line| line.split(':').next());
    names.filter_map(|name| user_in(text, name)).find(|account| account.user == number)
}

fn group_in(text: &str, name: &str) -> Option<u32> {
    fields(text, name)?.nth(1)?.parse().ok()
}

fn groups_in(text: &str, name: &str) -> Vec<u32> {
    let member_of = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let id = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == name).then_some(id)
    };
    text.lines().filter_map(member_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\n+broken\nconsole:x:100:101:a console:/:/bin/false\n";
    const GROUP: &str =
        "root:x:0:\npostern:x:101:console,maria\nbad:x:many:console\ndialout:x:20:maria,console\n";

    #[test]
    fn a_user_has_two_ids() {
        assert_eq!(user_in(PASSWD, "console"), Some(Account { user: 100, group: 101 }));
        assert_eq!(user_with_in(PASSWD, 100), user_in(PASSWD, "console"));
        assert_eq!(user_with_in(PASSWD, 101), None);
        assert_eq!(user_in(PASSWD, "consol"), None);
        assert_eq!(user_in(PASSWD, "+broken"), None);
        assert_eq!(user_in(PASSWD, ""), None);
    }

    #[test]
    fn groups_are_found_by_name_and_by_member() {
        assert_eq!(group_in(GROUP, "postern"), Some(101));
        assert_eq!(group_in(GROUP, "bad"), None);
        assert_eq!(groups_in(GROUP, "console"), [101, 20]);
        assert_eq!(groups_in(GROUP, "cons"), [0_u32; 0]);
    }

    #[test]
    fn this_machine_has_a_superuser() {
        assert_eq!(user("root"), Some(Account { user: 0, group: 0 }));
        assert_eq!(group("root"), Some(0));
        assert!(groups_of("nobody of that name").is_empty());
    }
}
