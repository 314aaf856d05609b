//! Audit lines and the ways they take.
#![allow(unsafe_code)]

#[path = "../shared/counting.rs"]
mod counting;
mod rfc5424;

use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

use heapless::Vec as Bounded;
use log::Log;
use postern_core::audit::{
    ConfigChange, ConsoleAct, DenyClass, DenyReason, Event, FirewallTask, Proof, Record, RevokeReason,
    UpdateAct, WatchdogState,
};
use postern_core::grant::GrantId;
use postern_core::knock::{InterfaceIndex, ServicePort};
use postern_core::limits::PORTS_PER_DOOR_MAX;
use postern_core::port::{AuditSink, FirewallError, SinkBusy};
use postern_core::rule::Name;
use postern_core::time::{Duration, Instant};
use postern_hal_linux::clock::WallTime;
use postern_hal_linux::syslog::{
    Diagnostics, Facility, Identity, LINE_BYTES_MAX, Line, StderrSink, SyslogSink, audit_line, human_line,
};

fn identity() -> Identity {
    let mut identity = Identity::of_this_process();
    identity.hostname = "pump-17".try_into().unwrap();
    identity.process = 412;
    identity.interfaces.push("wwan0".try_into().unwrap()).unwrap();
    identity
}

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

fn record(event: Event) -> Record {
    Record { id: 7, at: Instant::from_millis(93_512), event }
}

fn grant() -> Event {
    Event::Grant {
        grant: GrantId::from_raw(3),
        door: name("ssh"),
        source: IpAddr::from([192, 0, 2, 1]),
        prefix: 32,
        ports: Bounded::from_slice(&[ServicePort::tcp(22), ServicePort::udp(161)]).unwrap(),
        open_for: Duration::from_secs(30),
        proof: Proof::Sequence,
        key: Name::new(),
        extended: false,
        one_shot: false,
    }
}

fn firewall_failed(task: FirewallTask, revoked: Option<RevokeReason>, error: FirewallError) -> Event {
    let (grant, door, source) = (GrantId::from_raw(3), name("ssh"), IpAddr::from([192, 0, 2, 1]));
    Event::FirewallFailed {
        grant,
        door,
        source,
        prefix: 32,
        task,
        revoked,
        held_for: Duration::from_millis(24_100),
        error,
    }
}

/// Every event with its priority, its own fields as structured data and for people.
fn golden() -> Vec<(Event, u8, &'static str, &'static str)> {
    let (ssh, source) = (name("ssh"), IpAddr::from([192, 0, 2, 1]));
    let v6: IpAddr = "2001:db8::17".parse().unwrap();
    let (grant_id, interface) = (GrantId::from_raw(3), InterfaceIndex(0));
    let authpriv = Facility::LOG_AUTHPRIV as u8;
    let (critical, error, warning, notice, info) =
        (authpriv + 2, authpriv + 3, authpriv + 4, authpriv + 5, authpriv + 6);
    let reason = RevokeReason::CloseSequence;
    let revoke = Event::Revoke { grant: grant_id, door: ssh.clone(), source, prefix: 32, reason };
    vec![
        (
            grant(),
            notice,
            r#" grant="3" door="ssh" src="192.0.2.1" ports="tcp/22,udp/161" open_for_s="30" proof="sequence" extended="false""#,
            "GRANT grant=3 door=ssh src=192.0.2.1 ports=tcp/22,udp/161 open_for=30s proof=sequence extended=false",
        ),
        (
            Event::Expire { grant: grant_id, door: ssh.clone(), source: v6, prefix: 128 },
            info,
            r#" grant="3" door="ssh" src="2001:db8::17""#,
            "EXPIRE grant=3 door=ssh src=2001:db8::17",
        ),
        (
            revoke,
            notice,
            r#" grant="3" door="ssh" src="192.0.2.1" reason="close-sequence""#,
            "REVOKE grant=3 door=ssh src=192.0.2.1 reason=close-sequence",
        ),
        (
            Event::Deny { door: ssh, source, reason: DenyReason::Tainted },
            warning,
            r#" door="ssh" src="192.0.2.1" reason="guard-port-touched""#,
            "DENY-POLICY door=ssh src=192.0.2.1 reason=guard-port-touched",
        ),
        (
            firewall_failed(FirewallTask::Close, Some(RevokeReason::Operator), FirewallError::Missing),
            critical,
            r#" grant="3" door="ssh" src="192.0.2.1" task="close" revoked="operator" reason="set-missing" held_for_s="25""#,
            "FW-FAIL grant=3 door=ssh src=192.0.2.1 task=close revoked=operator reason=set-missing held_for=25s",
        ),
        (
            firewall_failed(FirewallTask::Open, None, FirewallError::Other(95)),
            critical,
            r#" grant="3" door="ssh" src="192.0.2.1" task="open" reason="error" errno="95" held_for_s="25""#,
            "FW-FAIL grant=3 door=ssh src=192.0.2.1 task=open reason=error errno=95 held_for=25s",
        ),
        (Event::Boot { doors: 2 }, notice, r#" doors="2""#, "BOOT doors=2"),
        (Event::ConfigApplied { doors: 3 }, notice, r#" doors="3""#, "CFG-APPLY doors=3"),
        (Event::ConfigRejected, error, "", "CFG-REJECT"),
        (Event::CaptureLost { interface }, error, r#" interface="wwan0""#, "CAP-LOST interface=wwan0"),
        (
            Event::CaptureBack { interface: InterfaceIndex(5) },
            notice,
            r#" interface="5""#,
            "CAP-BACK interface=5",
        ),
        (Event::CaptureDropped { frames: 1000 }, warning, r#" frames="1000""#, "CAP-DROP frames=1000"),
        (Event::Lost { records: 64 }, warning, r#" records="64""#, "LOG-DROP records=64"),
        (
            Event::DenySuppressed { class: DenyClass::Policy, records: 92 },
            warning,
            r#" reason="rate-limited" records="92""#,
            "DENY-POLICY reason=rate-limited records=92",
        ),
    ]
}

/// Events about the configuration and who changes it.
fn golden_of_changes() -> Vec<(Event, u8, &'static str, &'static str)> {
    let authpriv = Facility::LOG_AUTHPRIV as u8;
    let (alert, error, warning, notice) = (authpriv + 1, authpriv + 3, authpriv + 4, authpriv + 5);
    let changed = |change| Event::ConfigChanged { change, generation: 7, by: name("maria") };
    let console = |act| Event::Console { act, account: name("maria") };
    let updated = |act| Event::Update { act, release: 7, by: name("maria") };
    vec![
        (
            changed(ConfigChange::Committed),
            notice,
            r#" generation="7" by="maria" reason="commit""#,
            "CFG-COMMIT generation=7 by=maria reason=commit",
        ),
        (
            Event::KeyRebased { key: name("alice"), epoch: 2, by: name("maria") },
            notice,
            r#" key="alice" epoch="2" by="maria""#,
            "KEY-REBASE key=alice epoch=2 by=maria",
        ),
        (
            updated(UpdateAct::Refused("downgrade")),
            warning,
            r#" release="7" by="maria" reason="downgrade""#,
            "UPD-REJECT release=7 by=maria reason=downgrade",
        ),
        (
            updated(UpdateAct::FellBack),
            error,
            r#" release="7" by="maria""#,
            "UPD-FALLBACK release=7 by=maria",
        ),
        (
            updated(UpdateAct::Confirmed),
            notice,
            r#" release="7" by="maria""#,
            "UPD-CONFIRM release=7 by=maria",
        ),
        (
            changed(ConfigChange::TrialTimedOut),
            warning,
            r#" generation="7" by="maria" reason="not-confirmed""#,
            "CFG-ROLLBACK generation=7 by=maria reason=not-confirmed",
        ),
        (
            changed(ConfigChange::Wiped),
            alert,
            r#" generation="7" by="maria" reason="wipe""#,
            "CFG-WIPE generation=7 by=maria reason=wipe",
        ),
        (
            Event::SlotRefused { slot: 3, reason: "bad-seal" },
            error,
            r#" slot="3" reason="bad-seal""#,
            "CFG-REJECT slot=3 reason=bad-seal",
        ),
        (Event::StoreFailed, error, "", "STORE-FAIL"),
        (Event::FactoryProfile, error, "", "SAFE-MODE"),
        (
            Event::SafeMode { starts: 3, retry_after: Duration::from_secs(60) },
            authpriv + 2,
            r#" state="on" starts="3" retry_s="60""#,
            "SAFE-MODE state=on starts=3 retry=60s",
        ),
        (Event::SafeModeLeft, notice, r#" state="off""#, "SAFE-MODE state=off"),
        (console(ConsoleAct::LoggedIn), notice, r#" account="maria""#, "CONSOLE-LOGIN account=maria"),
        (console(ConsoleAct::Failed), warning, r#" account="maria""#, "CONSOLE-FAIL account=maria"),
        (console(ConsoleAct::BrokeGlass), alert, r#" account="maria""#, "BREAK-GLASS account=maria"),
    ]
}

/// Events about the daemon's own health and its gate.
fn golden_of_health() -> Vec<(Event, u8, &'static str, &'static str)> {
    let authpriv = Facility::LOG_AUTHPRIV as u8;
    let (critical, error, warning, notice) = (authpriv + 2, authpriv + 3, authpriv + 4, authpriv + 5);
    vec![
        (
            Event::Watchdog(WatchdogState::Armed { timeout_secs: 10 }),
            notice,
            r#" state="armed" timeout_s="10""#,
            "WDT state=armed timeout=10s",
        ),
        (Event::Watchdog(WatchdogState::Missing), warning, r#" state="missing""#, "WDT state=missing"),
        (Event::Watchdog(WatchdogState::Unusable), error, r#" state="unusable""#, "WDT state=unusable"),
        (
            Event::Watchdog(WatchdogState::LastReset("watchdog")),
            warning,
            r#" last_reset="watchdog""#,
            "WDT last_reset=watchdog",
        ),
        (Event::SelfTest { failure: Some("deaf") }, critical, r#" result="deaf""#, "SELFTEST result=deaf"),
        (Event::SelfTest { failure: None }, notice, r#" result="passed""#, "SELFTEST result=passed"),
        (
            Event::FirewallDrift { differences: 2, repaired: true },
            warning,
            r#" differences="2" repaired="true""#,
            "FW-DRIFT differences=2 repaired=true",
        ),
        (
            Event::FirewallDrift { differences: 1, repaired: false },
            critical,
            r#" differences="1" repaired="false""#,
            "FW-DRIFT differences=1 repaired=false",
        ),
    ]
}

#[test]
fn every_event_has_its_line() {
    let wall = WallTime { unix_millis: 1_795_416_422_123, synchronised: true };
    let all = [golden(), golden_of_changes(), golden_of_health()].into_iter().flatten();
    for (event, priority, fields, human) in all {
        let id = event.id();
        let record = record(event);
        let mut line = Line::new();
        audit_line(&record, Some(wall), &identity(), &mut line).unwrap();
        let human = format!("{human} seq=7 uptime=93512ms");
        let expected = format!(
            "<{priority}>1 2026-11-23T06:47:02.123Z pump-17 postern 412 {id} \
             [timeQuality tzKnown=\"1\" isSynced=\"1\"]\
             [postern@32473 seq=\"7\" uptime_ms=\"93512\"{fields}] {human}"
        );
        assert_eq!(line.as_str(), expected);
        let mut line = Line::new();
        human_line(&record, &identity(), &mut line).unwrap();
        assert_eq!(line.as_str(), human);
    }
}

#[test]
fn an_incredible_clock_is_not_stamped() {
    let mut line = Line::new();
    audit_line(&record(Event::Boot { doors: 1 }), None, &identity(), &mut line).unwrap();
    let start = "<85>1 - pump-17 postern 412 BOOT [timeQuality tzKnown=\"0\" isSynced=\"0\"][postern@32473 ";
    assert!(line.starts_with(start), "{line}");
}

#[test]
fn values_cannot_leave_their_place() {
    let mut identity = identity();
    identity.interfaces[0] = "a\"b]c\\\n\x1bé d".try_into().unwrap();
    let mut line = Line::new();
    let record = record(Event::CaptureLost { interface: InterfaceIndex(0) });
    audit_line(&record, None, &identity, &mut line).unwrap();
    assert!(line.contains(r#"interface="a\"b\]c\\??? d"]"#), "{line}");
    assert!(line.contains(r#"interface=a"b]c\????d seq"#), "{line}");
    let parsed = rfc5424::parse(&line);
    assert_eq!(parsed.parameter("postern@32473", "interface"), r#"a"b]c\??? d"#);
}

/// A grant for more than who asked says so, in every record of it.
#[test]
fn a_grant_to_a_network_names_it() {
    let (id, ssh, source) = (GrantId::from_raw(3), name("ssh"), IpAddr::from([192, 0, 2, 1]));
    let v6: IpAddr = "2001:db8:1:2::17".parse().unwrap();
    let mut granted = grant();
    if let Event::Grant { prefix, .. } = &mut granted {
        *prefix = 24;
    }
    let mut failed = firewall_failed(FirewallTask::Close, None, FirewallError::Busy);
    if let Event::FirewallFailed { prefix, .. } = &mut failed {
        *prefix = 24;
    }
    let reason = RevokeReason::Operator;
    for (event, people, data) in [
        (granted, "src=192.0.2.1 for=192.0.2.0/24 ports=", r#"src="192.0.2.1" for="192.0.2.0/24" ports="#),
        (
            Event::Expire { grant: id, door: ssh.clone(), source: v6, prefix: 64 },
            "src=2001:db8:1:2::17 for=2001:db8:1:2::/64 seq=",
            r#"src="2001:db8:1:2::17" for="2001:db8:1:2::/64""#,
        ),
        (
            Event::Revoke { grant: id, door: ssh, source, prefix: 24, reason },
            "for=192.0.2.0/24 reason=operator",
            r#"for="192.0.2.0/24" reason="operator""#,
        ),
        (failed, "for=192.0.2.0/24 task=close", r#"for="192.0.2.0/24" task="close""#),
    ] {
        let mut line = Line::new();
        audit_line(&record(event), None, &identity(), &mut line).unwrap();
        assert!(line.contains(people) && line.contains(data), "{line}");
    }
}

#[test]
fn the_longest_record_fits() {
    let port = ServicePort::tcp(65_535);
    let source: IpAddr = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
    let event = Event::Grant {
        grant: GrantId::from_raw(u32::MAX),
        door: name(&"d".repeat(32)),
        source,
        prefix: 127,
        ports: [port; PORTS_PER_DOOR_MAX].into_iter().collect(),
        open_for: Duration::from_secs(86_400),
        proof: Proof::Sequence,
        key: Name::new(),
        extended: false,
        one_shot: true,
    };
    let record = Record { id: u64::MAX, at: Instant::from_millis(u64::MAX), event };
    let mut identity = identity();
    identity.hostname = "h".repeat(64).as_str().try_into().unwrap();
    (identity.process, identity.enterprise) = (u32::MAX, u32::MAX);
    let wall = WallTime { unix_millis: 1_795_416_422_123, synchronised: false };
    let mut line = Line::new();
    audit_line(&record, Some(wall), &identity, &mut line).expect("it fits");
    println!("longest line: {} of {LINE_BYTES_MAX} octets", line.len());
}

/// A directory of its own, removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("postern-syslog-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("log")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 2048];
    let octets = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..octets].to_vec()).unwrap()
}

#[test]
fn a_syslog_daemon_understands_every_line() {
    let directory = Directory::new("parse");
    let daemon = UnixDatagram::bind(directory.socket()).unwrap();
    let mut sink = SyslogSink::new(identity(), Some(&directory.socket()));
    for (event, priority, _, human) in golden().into_iter().chain(golden_of_changes()) {
        let record = record(event);
        sink.write(&record, record.at).unwrap();
        let line = receive(&daemon);
        let parsed = rfc5424::parse(&line);
        assert_eq!(parsed.priority, priority);
        assert_eq!(parsed.message_id, record.event.id());
        assert_eq!(parsed.parameter("postern@32473", "seq"), "7");
        assert_eq!(parsed.parameter("postern@32473", "uptime_ms"), "93512");
        assert!(parsed.message.starts_with(human));
        assert!(parsed.timestamp.starts_with("20"), "{line}");
    }
}

#[test]
fn a_full_socket_is_busy_and_does_not_block() {
    let directory = Directory::new("full");
    let daemon = UnixDatagram::bind(directory.socket()).unwrap();
    let mut sink = SyslogSink::new(identity(), Some(&directory.socket()));
    let record = record(grant());
    let taken = (0..100_000).take_while(|_| sink.write(&record, record.at).is_ok()).count();
    assert!(taken > 0 && taken < 100_000, "nobody reads, so it must become busy: {taken}");
    assert_eq!(sink.write(&record, record.at), Err(SinkBusy));
    for _ in 0..taken {
        rfc5424::parse(&receive(&daemon));
    }
    daemon.set_nonblocking(true).unwrap();
    assert_eq!(daemon.recv(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock, "nothing twice");
    sink.write(&record, record.at).expect("there is room again");
}

#[test]
fn a_daemon_that_starts_late_or_again_is_found() {
    let directory = Directory::new("again");
    let mut sink = SyslogSink::new(identity(), Some(&directory.socket()));
    let record = record(grant());
    let at = |seconds: u64| Instant::from_millis(100_000 + seconds * 1000);
    assert_eq!(sink.write(&record, at(0)), Err(SinkBusy), "nobody listens");
    let daemon = UnixDatagram::bind(directory.socket()).unwrap();
    assert_eq!(sink.write(&record, at(0)), Err(SinkBusy), "it was tried just now");
    sink.write(&record, at(1)).expect("found");
    receive(&daemon);

    drop(daemon);
    std::fs::remove_file(directory.socket()).unwrap();
    let daemon = UnixDatagram::bind(directory.socket()).unwrap();
    sink.write(&record, at(60)).expect("found again at once");
    receive(&daemon);

    drop(daemon);
    std::fs::remove_file(directory.socket()).unwrap();
    let tries = (61..361).filter(|&second| sink.write(&record, at(second)).is_ok()).count();
    assert_eq!(tries, 0);
    let _daemon = UnixDatagram::bind(directory.socket()).unwrap();
    let found = (361..500).find(|&second| sink.write(&record, at(second)).is_ok()).unwrap();
    assert!(found <= 361 + 32, "looked for at least every 32 s: {found}");
}

#[test]
fn a_stream_socket_gets_whole_records() {
    let directory = Directory::new("stream");
    let listener = UnixListener::bind(directory.socket()).unwrap();
    let mut sink = SyslogSink::new(identity(), Some(&directory.socket()));
    let (mut stream, _) = listener.accept().unwrap();
    let mut written = 0;
    for id in 1..10_000 {
        let record = Record { id, ..record(grant()) };
        if sink.write(&record, record.at).is_err() {
            break;
        }
        written = id;
    }
    assert!(written < 9_999, "nobody reads, so it must become busy");
    // What was taken arrives, each record once and in order; the last one waits for the next write.
    stream.set_nonblocking(true).unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let next = Record { id: written + 1, ..record(grant()) };
    sink.write(&next, next.at).unwrap();
    drop(sink);
    stream.set_nonblocking(false).unwrap();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let ids: Vec<u64> = text
        .split_terminator('\0')
        .map(|line| rfc5424::parse(line).parameter("postern@32473", "seq").parse().unwrap())
        .collect();
    assert_eq!(ids, (1..=written + 1).collect::<Vec<_>>());
}

#[test]
fn a_line_sink_writes_lines_and_does_not_block() {
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let mut sink = StderrSink::to(identity(), writer.into());
    let record = record(grant());
    sink.write(&record, record.at).unwrap();
    let mut text = [0; 200];
    let octets = reader.read(&mut text).unwrap();
    let expected = "GRANT grant=3 door=ssh src=192.0.2.1 ports=tcp/22,udp/161 open_for=30s proof=sequence \
                    extended=false seq=7 uptime=93512ms\n";
    assert_eq!(std::str::from_utf8(&text[..octets]).unwrap(), expected);

    let (pipe_reader, pipe_writer) = nix::unistd::pipe().unwrap();
    let mut sink = StderrSink::to(identity(), pipe_writer);
    let taken = (0..100_000).take_while(|_| sink.write(&record, record.at).is_ok()).count();
    assert!(taken > 0 && taken < 100_000, "nobody reads, so it must become busy: {taken}");
    drop(pipe_reader);
    sink.write(&record, record.at).expect("nobody will ever read it: not busy for ever");
}

#[test]
fn diagnostics_confess_what_was_lost() {
    let directory = Directory::new("diagnostics");
    let daemon = UnixDatagram::bind(directory.socket()).unwrap();
    daemon.set_nonblocking(true).unwrap();
    let log = Diagnostics::to_syslog(log::LevelFilter::Info, identity(), Some(&directory.socket()));
    let say = |level, text: &str| {
        log.log(&log::Record::builder().level(level).args(format_args!("{text}")).build());
    };
    say(log::Level::Debug, "not wanted");
    say(log::Level::Warn, "wwan0: gone\n<0>1 forged");
    let line = rfc5424::parse(&receive(&daemon)).owned();
    assert_eq!((line.priority, line.message.as_str()), (28, "wwan0: gone?<0>1 forged"));
    let mut said = 0;
    for _ in 0..1000 {
        say(log::Level::Error, "again");
    }
    let mut buffer = [0; 2048];
    while daemon.recv(&mut buffer).is_ok() {
        said += 1;
    }
    assert!(said > 0 && said < 1000, "{said}");
    say(log::Level::Info, "goes on");
    let confession = rfc5424::parse(&receive(&daemon)).owned();
    assert_eq!(confession.message, format!("{} messages lost: the log was too slow", 1000 - said));
    assert_eq!(rfc5424::parse(&receive(&daemon)).message, "goes on");
}

#[test]
fn writing_does_not_allocate() {
    let directory = Directory::new("allocation");
    let daemon = UnixDatagram::bind(directory.socket()).unwrap();
    let mut sink = SyslogSink::new(identity(), Some(&directory.socket()));
    let log = Diagnostics::to_syslog(log::LevelFilter::Info, identity(), Some(&directory.socket()));
    let (_reader, writer) = nix::unistd::pipe().unwrap();
    let mut line_sink = StderrSink::to(identity(), writer);
    let events = golden();
    let records: Vec<Record> = events.into_iter().map(|(event, ..)| record(event)).collect();
    let mut buffer = [0; 2048];
    let before = counting::allocations();
    for _ in 0..100 {
        for record in &records {
            sink.write(record, record.at).unwrap();
            daemon.recv(&mut buffer).unwrap();
            let _ = line_sink.write(record, record.at);
            log.log(
                &log::Record::builder().level(log::Level::Error).args(format_args!("{}", record.id)).build(),
            );
            daemon.recv(&mut buffer).unwrap();
        }
    }
    assert_eq!(counting::allocations() - before, 0);
    drop(Box::new(1));
    assert!(counting::allocations() > before, "the counter counts");
}
