//! Every capacity of the firmware, with its unit and its reason.
//!
//! A limit that is reached has a named verdict where it is reached; none is reached silently.
//! `const` assertions at the end relate the limits to each other.

use crate::time::Duration;

/// Doors of one gateway. An industrial gateway has a handful; 256 covers one door per technician
/// and service without any per-packet cost (look-ups do not walk doors).
pub const DOORS_MAX: usize = 256;

/// Sequences of one gateway: opening and closing ones together.
pub const SEQUENCES_MAX: usize = 256;

/// Knocks in one sequence. knockd allows 32; beyond 16 nothing is gained and every knock is one
/// more packet to lose on a bad link.
pub const STEPS_MAX: usize = 16;

/// Knocks in a sequence with a reordering window: arrival times are kept for each of its steps in
/// the same fixed entry, which halves the room.
pub const REORDER_STEPS_MAX: usize = 8;

/// Places one and the same knock may stand in, over all sequences: bounds the work per packet.
pub const STEP_SHARED_MAX: usize = 16;

/// Service ports of one door.
pub const PORTS_PER_DOOR_MAX: usize = 8;

/// Bits of the widest network a grant to an IPv4 source may cover, if its door says so: 65,536 addresses,
/// the pool of a carrier's NAT. What is wider is a whole provider.
pub const REACH_V4_MIN: u8 = 16;

/// The same for an IPv6 source: what one customer is given (RFC 6177).
pub const REACH_V6_MIN: u8 = 48;

/// Distinct service ports over all doors.
pub const PORTS_MAX: usize = 512;

/// Octets of a door's or key's name (ASCII letters, digits, `-`, `_`, `.`).
pub const NAME_BYTES_MAX: usize = 32;

/// Keys of one gateway, one or two a person; a door names its keys in a bit set of 64.
pub const KEYS_MAX: usize = 64;

/// Octets of one secret: the longest key the stock fwknop client makes.
pub const SECRET_BYTES_MAX: usize = 128;

/// Keys of stock fwknop clients: their packets do not say whose they are, so each key costs an HMAC for
/// every packet that looks like one.
pub const FWKNOP_KEYS_MAX: usize = 16;

/// Ports one packet of a stock fwknop client may ask for.
pub const FWKNOP_PORTS_MAX: usize = 8;

/// Packets of one fwknop key remembered above its mark: more in four minutes are used up in order.
pub const FWKNOP_REMEMBERED_MAX: usize = 16;

/// Source networks a key may be limited to.
pub const SOURCES_PER_KEY_MAX: usize = 4;

/// Weekly windows of one key.
pub const WINDOWS_PER_KEY_MAX: usize = 4;

/// Writes of one key's ceiling that may come close together: a script that knocks for each of its
/// connections.
pub const CEILING_WRITES_AT_ONCE: u8 = 60;

/// Time after which a key may have its ceiling written once more: a machine that polls each minute must
/// get in. Who holds a key and does nothing but knock causes 1,500 writes of a sector a day.
pub const CEILING_WRITE_EVERY: Duration = Duration::from_secs(60);

/// Genuine packets that wait for their keys' ceilings to be written at a time.
pub const WAITING_PACKETS_MAX: usize = 8;

/// Longest wait for the answer to a write of a ceiling: a medium that takes longer is broken, and the
/// client knocks again.
pub const JOURNAL_ANSWER: Duration = Duration::from_secs(10);

/// Doors with rotating sequences and one-time lists, together: each has a lease in the journal, beside
/// those of all keys.
pub const ROWS_MAX: usize = 16;

/// Knocks of the shortest rotating sequence. Three out of thousands of ports cannot be met by chance.
pub const ROTATING_KNOCKS_MIN: u8 = 3;

/// Knocks of the longest rotating sequence.
pub const ROTATING_KNOCKS_MAX: u8 = 8;

/// Rotating sequences of one door that are awaited at once. Each takes a place in the rule set.
pub const ROTATING_AHEAD_MAX: u8 = 8;

/// Candidates drawn for the knocks of one rotating sequence before it is given up: so many blocks of
/// one HMAC bound the work when nearly every knock is excluded.
pub const ROTATING_CANDIDATES_MAX: u32 = 256;

/// Accounts that may configure one gateway.
pub const ACCOUNTS_MAX: usize = 16;

/// Octets of the notice before the login (printable ASCII): three lines of a terminal.
pub const BANNER_BYTES_MAX: usize = 240;

/// Capture interfaces of one gateway.
pub const INTERFACES_MAX: usize = 8;

/// Octets of an interface name: Linux `IFNAMSIZ` less the terminating zero.
pub const INTERFACE_NAME_BYTES_MAX: usize = 15;

/// Guard ranges over all doors: two around each knock of a site with many doors.
pub const GUARD_RANGES_MAX: usize = 2048;

/// Distinct ranges (knocks and guards of all protocols, merged) the kernel filter may be made of,
/// so that the program stays far below the kernel's 4,096 instructions (`BPF_MAXINSNS`).
pub const CAPTURE_RANGES_MAX: usize = 900;

/// Distinct TCP flag conditions over all sequences (the kernel filter tests each).
pub const FLAG_CONDITIONS_MAX: usize = 8;

/// Grants in force or in the making. A stock knockd forks a process for each.
pub const GRANTS_MAX: usize = 1024;

/// Places for grants that a door may take only while it has fewer than
/// [`GRANTS_PER_DOOR_ASSURED`]: who knows one door's sequence, and forges addresses, cannot keep
/// the clients of the other doors out.
pub const GRANTS_RESERVED: usize = 256;

/// Grants of one door that may use the reserved places.
pub const GRANTS_PER_DOOR_ASSURED: usize = 16;

/// Firewall commands one call of the engine may return.
pub const EFFECTS_MAX: usize = 16;

/// Attempts to have the firewall open or close before `FW-FAIL` is audited for good.
pub const FIREWALL_TRIES_MAX: u8 = 4;

/// Pause between two attempts; the n-th waits n times as long.
pub const FIREWALL_RETRY: Duration = Duration::from_millis(50);

/// Longest wait for the answer to a firewall command before it counts as failed.
pub const FIREWALL_ANSWER: Duration = Duration::from_secs(2);

/// Records the audit ring holds until the shell has written them. When it is full, the next
/// readable record confesses how many were lost.
pub const AUDIT_RECORDS_MAX: usize = 256;

/// Places of the audit ring kept free for grants, so that a storm of lesser events cannot push
/// out the record of an opening.
pub const AUDIT_RESERVED_FOR_GRANTS: usize = 64;

/// Denials recorded one by one in each [`DENY_WINDOW`]; the others are counted.
pub const DENY_RECORDS_PER_WINDOW_MAX: u32 = 8;

/// Time after which a summary of counted denials is written.
pub const DENY_WINDOW: Duration = Duration::from_secs(10);

/// Sources a detector follows at a time.
pub const SUSPECTS_MAX: usize = 32;

/// Sources of one kind that are told of one by one in each [`SUSPECT_WINDOW`]; the others are counted.
pub const SUSPECTS_TOLD_MAX: u32 = 4;

/// Time in which a source must do enough to be a suspect, and for which it must be quiet to be none
/// any more.
pub const SUSPECT_WINDOW: Duration = Duration::from_secs(10);

/// Guard ports a source touches in a window to be scanning. A stray packet touches one.
pub const SCAN_TOUCHES: u32 = 8;

/// Knocks of a source in a window that complete nothing and make it one that tries knocks out: four
/// times the longest sequence.
pub const BRUTE_KNOCKS: u32 = 64;

/// Knocks a refused proof counts for: eight refusals in a window are trying out, too.
pub const BRUTE_REFUSAL_WEIGHT: u32 = 8;

/// Frames within a second that are a flood. What the kernel filter lets through on a quiet day is a
/// few a minute.
pub const FLOOD_ON_PER_SEC: u32 = 2_000;

/// Frames within a second below which a flood calms down.
pub const FLOOD_OFF_PER_SEC: u32 = 500;

/// Time a flood must have calmed down for to be over.
pub const FLOOD_QUIET: Duration = Duration::from_secs(10);

/// Shortest trial of a configuration: time to log in again and confirm.
pub const TRIAL_MIN: Duration = Duration::from_secs(30);

/// Longest trial of a configuration.
pub const TRIAL_MAX: Duration = Duration::from_secs(86_400);

/// How long a configuration that is being brought is kept for a peer that says nothing more.
pub const STAGING_IDLE: Duration = Duration::from_secs(60);

/// How long the daemon must run before a start counts as clean.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// How long nothing may be wrong until the slot that runs is healthy and has its attempts back.
pub const SLOT_HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Starts in a row that did not last so long after which the gateway starts in safe mode: two may be two
/// cuts of the power in a minute.
pub const SAFE_AFTER: u32 = 3;

/// How often the time in safe mode doubles when the try after it does not last either: from
/// [`HEALTHY_AFTER`] to some four hours.
pub const SAFE_DOUBLINGS_MAX: u32 = 8;

/// Lines of the log kept for those who ask; all of them went to syslog before.
pub const LOG_LINES_MAX: usize = 128;

/// Knocks kept for an installer who watches.
pub const SIGHTINGS_MAX: usize = 64;

/// How long knocks are kept after somebody last asked for them.
pub const WATCH_IDLE: Duration = Duration::from_secs(60);

/// Kinds of peers whose failed logins are counted apart.
pub const GUESSERS_MAX: usize = 8;

/// Failed logins that cost nothing: people mistype.
pub const FREE_GUESSES: u8 = 3;

/// Longest wait after a failed login: never a lock for good.
pub const GUESS_DELAY_MAX: Duration = Duration::from_secs(60);

/// Octets captured of each frame: the deepest headers walked are Ethernet (14), two VLAN tags (8),
/// PPPoE (8), IPv6 (40), extension headers ([`EXTENSION_BYTES_MAX`]) and TCP (20); IPv4 with all
/// its options (60) is shorter. Behind UDP (8), a packet of 128 octets is captured wholly with all of
/// them, and the longest of the stock fwknop client (460) without extension headers.
pub const FRAME_BYTES_MAX: usize = 576;

/// IPv6 extension headers walked before a packet is ignored.
pub const EXTENSIONS_MAX: usize = 6;

/// Octets of IPv6 extension headers walked before a packet is ignored.
pub const EXTENSION_BYTES_MAX: usize = 128;

/// Frames handled in one turn of the daemon's loop.
pub const FRAMES_PER_TURN_MAX: usize = 256;

/// Longest time a sequence may take (`within`).
pub const WITHIN_MAX: Duration = Duration::from_secs(120);

/// Shortest time a sequence may take.
pub const WITHIN_MIN: Duration = Duration::from_millis(100);

/// Longest reordering window of a sequence.
pub const REORDER_MAX: Duration = Duration::from_secs(2);

/// Longest time a door may stay open. ipset's own limit is 2,147,483 s (ipset(8), `timeout`).
pub const OPEN_FOR_MAX: Duration = Duration::from_secs(86_400);

/// Shortest time a door may stay open: the unit of the kernel's time-out.
pub const OPEN_FOR_MIN: Duration = Duration::from_secs(1);

/// Scale of the matcher's tables in the product; one unit is about 33 KiB (see
/// [`crate::matcher`]). Eight units keep 100,000 spoofed first knocks a second harmless.
pub const TABLE_UNITS: usize = 8;

/// Octets all tables of the matcher may take in the product.
pub const TABLE_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(GRANTS_RESERVED < GRANTS_MAX);
const _: () = assert!(FWKNOP_KEYS_MAX <= KEYS_MAX);
const _: () = assert!(FWKNOP_PORTS_MAX <= EFFECTS_MAX);
const _: () = assert!(GRANTS_PER_DOOR_ASSURED <= GRANTS_RESERVED);
const _: () = assert!(SUSPECTS_TOLD_MAX as usize <= SUSPECTS_MAX);
const _: () = assert!(BRUTE_KNOCKS as usize >= 4 * STEPS_MAX, "an honest client may start again a few times");
const _: () = assert!(FLOOD_OFF_PER_SEC < FLOOD_ON_PER_SEC, "a gap, so that the edge is one");
const _: () = assert!(REORDER_STEPS_MAX <= STEPS_MAX);
const _: () = assert!(ROTATING_KNOCKS_MAX as usize <= STEPS_MAX);
const _: () = assert!(AUDIT_RESERVED_FOR_GRANTS < AUDIT_RECORDS_MAX);
const _: () = assert!(EFFECTS_MAX >= STEP_SHARED_MAX, "one knock may finish every sequence it is shared by");
const _: () = assert!(14 + 8 + 8 + 40 + EXTENSION_BYTES_MAX + 20 <= FRAME_BYTES_MAX);
const _: () = assert!(14 + 8 + 8 + 60 + 20 <= FRAME_BYTES_MAX);
const _: () =
    assert!(14 + 8 + 8 + 40 + EXTENSION_BYTES_MAX + 8 + crate::spa::native::PACKET_BYTES <= FRAME_BYTES_MAX);
const _: () = assert!(14 + 8 + 8 + 40 + 8 + crate::spa::fwknop::PACKET_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(INTERFACES_MAX <= 8, "InterfaceSet is one octet");
const _: () = assert!(PORTS_PER_DOOR_MAX <= PORTS_MAX);
const _: () = assert!(KEYS_MAX <= 64, "a door's keys are a bit set of 64");
const _: () = assert!(REORDER_MAX.millis() < WITHIN_MAX.millis());
