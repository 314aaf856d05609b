//! Commands of real set-ups, and what becomes of them.

use super::*;
use crate::import::report::Place;

fn text(line: &str) -> Text<'_> {
    Text { text: line, place: Place { line: 1, column: 1 } }
}

/// `+tcp/22` opens, `-tcp/22` closes, `=9` waits, `?` looks, `.` does nothing; `@9` is the
/// command's own time-out.
fn told(line: &str) -> Result<String, &'static str> {
    let rule = |sign: char, rule: &Rule| {
        let ports: Vec<String> = rule.ports.iter().map(ToString::to_string).collect();
        let lifetime = rule.lifetime_s.map(|seconds| format!("@{seconds}")).unwrap_or_default();
        format!("{sign}{}{lifetime}", ports.join(","))
    };
    let actions = actions(text(line), &mut Vec::new()).map_err(|refused| refused.code)?;
    let words = actions.iter().map(|action| match action {
        Action::Open(opened) => rule('+', opened),
        Action::Close(closed) => rule('-', closed),
        Action::Check => "?".into(),
        Action::Wait(seconds) => format!("={seconds}"),
        Action::Nothing => ".".into(),
    });
    Ok(words.collect::<Vec<_>>().join(" "))
}

#[track_caller]
fn all(cases: &[(&str, Result<&str, &'static str>)]) {
    for (line, expected) in cases {
        assert_eq!(told(line), expected.map(ToOwned::to_owned), "{line}");
    }
}

#[test]
fn iptables_opens_and_closes() {
    all(&[
        ("/sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT", Ok("+tcp/22")),
        ("iptables -I INPUT 1 -s %IP%/32 -p udp -m udp --dport 1194 -j ACCEPT", Ok("+udp/1194")),
        ("sudo -n /usr/sbin/iptables -w -D INPUT -s '%IP%' -p tcp --dport=ssh -j ACCEPT", Ok("-tcp/22")),
        ("iptables -w 5 -t filter -IINPUT -s%IP% --proto=udp --dport 53 -jACCEPT", Ok("+udp/53")),
        (
            "ip6tables --append INPUT --source %IP%/128 --protocol tcp --destination-port 22 --jump ACCEPT",
            Ok("+tcp/22"),
        ),
        (
            "iptables -A INPUT -p tcp -m multiport --dports 80,443,100:102 -s %IP% -j ACCEPT",
            Ok("+tcp/80,tcp/100,tcp/101,tcp/102,tcp/443"),
        ),
        (
            "iptables -A INPUT -m state --state NEW,ESTABLISHED -s %IP% -ptcp --dport 22 -j ACCEPT",
            Ok("+tcp/22"),
        ),
        (
            "iptables -A INPUT -m conntrack --ctstate NEW -m comment --comment \"by knockd\" -s %IP% -p 6 --syn --dport 22 -j ACCEPT",
            Ok("+tcp/22"),
        ),
        ("iptables -A INPUT -s %IP% --dport 22 -j ACCEPT", Ok("+tcp/22")),
        ("iptables -A INPUT -i eth0 -d 192.0.2.1 -s %IP% -p tcp --dport 22 -j ACCEPT", Ok("+tcp/22")),
    ]);
}

#[test]
fn iptables_that_is_no_door() {
    all(&[
        ("iptables -A INPUT -p tcp --dport 22 -j ACCEPT", Err("for-everybody")),
        ("iptables -A INPUT -s %IP% -p tcp --syn -j ACCEPT", Err("no-port")),
        ("iptables -A INPUT -s %IP% -j ACCEPT", Err("no-port")),
        ("iptables -A INPUT -s %IP%/24 -p tcp --dport 22 -j ACCEPT", Err("for-network")),
        ("iptables -A INPUT -s 192.0.2.9 -p tcp --dport 22 -j ACCEPT", Err("for-fixed-address")),
        ("iptables -A INPUT ! -s %IP% -p tcp --dport 22 -j ACCEPT", Err("negation")),
        ("iptables -A INPUT -s %IP% -p tcp --dport 22 -j DROP", Err("target")),
        ("iptables -A INPUT -s %IP% -p tcp --dport 22", Err("target")),
        ("iptables -D INPUT -p tcp --dport 22 -j DROP", Err("target")),
        ("iptables -A FORWARD -s %IP% -p tcp --dport 22 -j ACCEPT", Err("chain")),
        ("iptables -A OUTPUT -d %IP% -p tcp --sport 22 -j ACCEPT", Err("not-understood")),
        ("iptables -A knock -s %IP% -p tcp --dport 22 -j ACCEPT", Err("chain")),
        ("iptables -t nat -A PREROUTING -s %IP% -p tcp --dport 22 -j DNAT --to 10.0.0.1", Err("table")),
        ("iptables -D INPUT 3", Err("rule-number")),
        ("iptables -F", Err("for-everybody")),
        ("iptables -P INPUT ACCEPT", Err("for-everybody")),
        ("iptables -A INPUT -m limit --limit 3/m -s %IP% -p tcp --dport 22 -j ACCEPT", Err("match")),
        ("iptables -A INPUT -s %IP% -p tcp --sport 22 -j ACCEPT", Err("not-understood")),
        ("iptables -A INPUT -s %IP% -p icmp --dport 22 -j ACCEPT", Err("protocol")),
        ("iptables -A INPUT -s %IP% -p tcp --dport 1:65535 -j ACCEPT", Err("too-many-ports")),
        ("iptables -A INPUT -s %IP% -p tcp --dport 0 -j ACCEPT", Err("bad-port")),
        ("iptables -A INPUT -s %IP% -p tcp --dport nosuch -j ACCEPT", Err("bad-port")),
        ("iptables -A INPUT -m state --state ESTABLISHED -s %IP% -p tcp --dport 22 -j ACCEPT", Err("state")),
        ("iptables -s %IP% -p tcp --dport 22 -j ACCEPT", Err("no-method")),
        ("iptables -A INPUT -s", Err("incomplete")),
        ("iptables -A", Err("incomplete")),
    ]);
}

#[test]
fn helper_of_the_sample_file() {
    all(&[
        ("/usr/local/sbin/knock_add -i -c INPUT -p tcp -d 443 -f %IP%", Ok("+tcp/443")),
        ("knock_add -x -d 53 -p udp -f %IP% -mcomment", Ok("-udp/53")),
        ("knock_add -i -d 443", Err("for-everybody")),
        ("knock_add -i -c FORWARD -d 443 -f %IP%", Err("chain")),
    ]);
}

#[test]
fn nft_rules_and_elements() {
    all(&[
        ("nft add rule inet filter input ip saddr %IP% tcp dport 22 accept", Ok("+tcp/22")),
        (
            "nft insert rule ip filter INPUT position 4 ip saddr %IP% tcp dport { 22, 443 } ct state new counter accept",
            Ok("+tcp/22,tcp/443"),
        ),
        (
            "nft 'add rule inet filter input ip6 saddr %IP% udp dport 161-162 accept comment \"x\"'",
            Ok("+udp/161,udp/162"),
        ),
        (
            "nft add rule inet filter input iifname eth0 ip saddr %IP% ct state {new,established} tcp dport ssh accept",
            Ok("+tcp/22"),
        ),
        ("nft add rule inet filter input meta l4proto udp th dport 53 ip saddr %IP% accept", Ok("+udp/53")),
        ("nft add element inet filter doors '{ %IP% . tcp . 22 timeout 30s }'", Ok("+tcp/22@30")),
        (
            "nft add element inet filter doors { %IP% . 22 timeout 1h30m, %IP% . 80 }",
            Ok("+tcp/22,tcp/80@5400"),
        ),
        ("nft delete element inet filter doors { %IP% . tcp . 22 }", Ok("-tcp/22")),
        ("nft add element inet filter ssh_ok { %IP% timeout 30s }", Err("ports-unknown")),
        ("nft add element inet filter doors { 192.0.2.1 . tcp . 22 }", Err("for-fixed-address")),
        ("nft add element inet filter doors { }", Err("for-fixed-address")),
        ("nft add element inet filter doors {", Err("for-fixed-address")),
        ("nft add rule inet filter input tcp dport 22 accept", Err("for-everybody")),
        ("nft add rule inet filter input ip saddr %IP% accept", Err("no-port")),
        ("nft add rule inet filter input ip saddr %IP% tcp dport 22 drop", Err("not-understood")),
        ("nft add rule inet filter input ip saddr != %IP% tcp dport 22 accept", Err("for-fixed-address")),
        ("nft add rule inet filter forward ip saddr %IP% tcp dport 22 accept", Err("chain")),
        ("nft delete rule inet filter input handle 5", Err("rule-number")),
        ("nft flush ruleset", Err("not-understood")),
        ("nft -f /etc/x.nft", Err("not-understood")),
    ]);
}

#[test]
fn ufw_rules() {
    all(&[
        ("ufw allow from %IP% to any port 22", Ok("+tcp/22,udp/22")),
        ("/usr/sbin/ufw insert 1 allow from %IP% to any port 22 proto tcp comment 'knock'", Ok("+tcp/22")),
        ("ufw allow proto udp from %IP% to any port 5060:5061", Ok("+udp/5060,udp/5061")),
        ("ufw --force delete allow from %IP% to any port 22 proto tcp", Ok("-tcp/22")),
        ("ufw allow in on eth0 from %IP% to 192.0.2.1 port 22 proto tcp", Ok("+tcp/22")),
        ("ufw allow 22/tcp", Err("for-everybody")),
        ("ufw allow from any to any port 22", Err("for-everybody")),
        ("ufw allow from %IP%", Err("no-port")),
        ("ufw deny from %IP% to any port 22", Err("target")),
        ("ufw delete 3", Err("rule-number")),
        ("ufw route allow from %IP% to any port 22", Err("chain")),
        ("ufw disable", Err("target")),
    ]);
}

#[test]
fn firewalld_rules() {
    let rich = r#"rule family="ipv4" source address="%IP%" port port="22" protocol="tcp" accept"#;
    all(&[
        (&format!("firewall-cmd --zone=public --add-rich-rule='{rich}' --timeout=30"), Ok("+tcp/22@30")),
        (&format!("firewall-cmd --add-rich-rule '{rich}' --timeout 5m"), Ok("+tcp/22@300")),
        (&format!("firewall-cmd --quiet --remove-rich-rule='{rich}'"), Ok("-tcp/22")),
        ("firewall-cmd --add-rich-rule='rule source address=%IP% service name=ssh accept'", Ok("+tcp/22")),
        (
            "firewall-cmd --add-rich-rule='rule source address=%IP% service name=samba accept'",
            Err("ports-unknown"),
        ),
        ("firewall-cmd --add-rich-rule='rule source address=%IP% accept'", Err("no-port")),
        (
            "firewall-cmd --add-rich-rule='rule source NOT address=%IP% port port=22 protocol=tcp accept'",
            Err("not-understood"),
        ),
        ("firewall-cmd --add-rich-rule='rule port port=22 protocol=tcp accept'", Err("for-everybody")),
        (
            "firewall-cmd --direct --add-rule ipv4 filter INPUT 0 -s %IP% -p tcp --dport 22 -j ACCEPT",
            Ok("+tcp/22"),
        ),
        (
            "firewall-cmd --direct --remove-rule ipv4 filter INPUT 0 -s %IP% -p tcp --dport 22 -j ACCEPT",
            Ok("-tcp/22"),
        ),
        ("firewall-cmd --add-port=22/tcp", Err("for-everybody")),
        ("firewall-cmd --zone=trusted --add-source=%IP%", Err("no-port")),
        ("firewall-cmd --reload", Err("not-understood")),
    ]);
}

#[test]
fn ipset_members() {
    all(&[
        ("ipset add doors %IP%,tcp:22 timeout 60 -exist", Ok("+tcp/22@60")),
        ("ipset -exist add doors %IP%,443", Ok("+tcp/443")),
        ("ipset del doors %IP%,udp:161", Ok("-udp/161")),
        ("ipset add ssh_ok %IP% timeout 30", Err("ports-unknown")),
        ("ipset add doors 192.0.2.1,22", Err("for-fixed-address")),
        ("ipset flush doors", Err("not-understood")),
    ]);
}

#[test]
fn lists_of_commands() {
    let open = "iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT";
    let close = "iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT";
    let check = "iptables -C INPUT -s %IP% -p tcp --dport 22 -j ACCEPT";
    all(&[
        (&format!("{open}; sleep 30; {close}"), Ok("+tcp/22 =30 -tcp/22")),
        (&format!("{check} 2>/dev/null || {open}"), Ok("? +tcp/22")),
        (&format!("{open} && logger \"knock %IP%\" >/dev/null"), Ok("+tcp/22 .")),
        (&format!("{open} || {close}"), Err("shell")),
        (&format!("{open} && /usr/local/bin/hello"), Err("unknown-command")),
        ("sleep 1 2", Err("bad-time")),
        ("sleep x", Err("bad-time")),
        ("", Ok("")),
    ]);
}

#[test]
fn other_programs_are_refused_with_advice() {
    for (line, advice) in [
        ("/etc/init.d/ssh start", "door"),
        ("systemctl start ssh", "Keep the service running"),
        ("etherwake 00:11:22:33:44:55", "wakes no hosts"),
        ("sh -c 'iptables ...'", "without a shell"),
        ("echo hi | mail root", "firewall command alone"),
    ] {
        let refused = actions(text(line), &mut Vec::new()).unwrap_err();
        assert!(refused.suggestion.contains(advice), "{line}: {}", refused.suggestion);
    }
}

#[test]
fn the_word_at_fault_is_pointed_at() {
    let line = "iptables -A INPUT -s 192.0.2.9 -p tcp --dport 22 -j ACCEPT";
    let refused = actions(text(line), &mut Vec::new()).unwrap_err();
    assert_eq!(refused.column as usize, line.find("192").unwrap() + 1);
}

#[test]
fn times_with_units() {
    for (text, expected) in [
        ("30", Some(30)),
        ("1h30m5s", Some(5405)),
        ("", None),
        ("m", None),
        ("1x", None),
        ("99999999999", None),
    ] {
        assert_eq!(seconds(text), expected, "{text}");
    }
}
