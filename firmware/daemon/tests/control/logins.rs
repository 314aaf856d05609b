//! Who may do what, and how many times they may be wrong.

use postern_config::Role;
use postern_console::rpc::Refusal;
use postern_console::rpc::reply::Reply;
use postern_console::rpc::request::{Request, Source, Standing};
use postern_console::scram::ITERATIONS_MIN;
use postern_core::rule::Name;

use crate::changes::commissioned;
use crate::world::{CONSOLE, PASSWORD, ROOT, World, account, site};

#[test]
fn nobody_does_anything_without_logging_in() {
    let (mut world, _root) = commissioned();
    let mut console = world.connect(CONSOLE);
    let everything = [
        Request::Status,
        Request::Config { source: Source::Running, offset: 0 },
        Request::History { index: 0 },
        Request::Doors { from: 0 },
        Request::Grants { after: 0 },
        Request::Keys { from: 0 },
        Request::Log { after: 0 },
        Request::Watch { after: 0 },
        Request::Revoke { door: "factory".try_into().unwrap(), source: None },
        Request::Stage { schema: 1, bytes: 1, digest: [0; 32] },
        Request::StagePart { offset: 0, part: heapless::Vec::new() },
        Request::Check,
        Request::Commit { base: 2, standing: Standing::Permanent, signature: None },
        Request::Confirm { generation: 2 },
        Request::Cancel { generation: 2 },
        Request::Rollback { base: 2, to: 1, standing: Standing::Permanent },
        Request::Wipe { device: [0x5a; 16] },
        Request::Reboot,
        Request::Rebase { key: "alice".try_into().unwrap() },
    ];
    for request in everything {
        assert_eq!(world.ask(&mut console, request.clone()), Err(Refusal::NotLoggedIn), "{request:?}");
    }
    assert_eq!(world.enrol(&mut console, "eve"), Err(Refusal::AlreadyEnrolled));
    assert_eq!(world.ask(&mut console, Request::Proof { proof: [0; 32] }), Err(Refusal::NotLoggedIn));
    world.log_in(&mut console, "maria", PASSWORD).unwrap();
    assert!(world.ask(&mut console, Request::Status).is_ok());
    world.ask(&mut console, Request::Logout).unwrap();
    assert_eq!(world.ask(&mut console, Request::Status), Err(Refusal::NotLoggedIn));
}

#[test]
fn roles_are_kept() {
    let (mut world, mut root) = commissioned();
    let mut staff = site("pump-17", 22, world.configuration.site());
    for (name, role) in [("vera", Role::Viewer), ("otto", Role::Operator)] {
        let mut one = staff.accounts[0].clone();
        (one.name, one.role) = (name.try_into().unwrap(), role);
        staff.accounts.push(one).unwrap();
    }
    world.commit(&mut root, &staff, Standing::Permanent).unwrap();
    let needs = |needs| Err(Refusal::NotAllowed { needs });
    let mut vera = world.connect(CONSOLE);
    assert_eq!(world.log_in(&mut vera, "vera", PASSWORD), Ok(Role::Viewer));
    assert!(world.ask(&mut vera, Request::Status).is_ok());
    assert_eq!(world.ask(&mut vera, Request::Watch { after: 0 }), needs(Role::Operator));
    assert_eq!(world.ask(&mut vera, Request::Check), needs(Role::Admin));
    let mut otto = world.connect(CONSOLE);
    assert_eq!(world.log_in(&mut otto, "otto", PASSWORD), Ok(Role::Operator));
    assert!(world.ask(&mut otto, Request::Watch { after: 0 }).is_ok());
    assert_eq!(world.ask(&mut otto, Request::Reboot), needs(Role::Admin));
    assert_eq!(world.ask(&mut root, Request::Reboot), Err(Refusal::NotPermitted));
}

#[test]
fn a_name_that_does_not_exist_looks_like_any_other() {
    let (mut world, _root) = commissioned();
    let mut console = world.connect(CONSOLE);
    let eve = Name::try_from("eve").unwrap();
    let first = world.challenge(&mut console, &eve).unwrap();
    let second = world.challenge(&mut console, &eve).unwrap();
    assert_eq!(first.salt, second.salt, "the same salt each time, as a real account");
    assert_ne!(first.server_nonce, second.server_nonce);
    assert!(first.iterations >= ITERATIONS_MIN);
    assert_ne!(first.salt, world.challenge(&mut console, &"eva".try_into().unwrap()).unwrap().salt);
    assert_eq!(world.log_in(&mut console, "eve", PASSWORD), Err(Refusal::LoginFailed));
    assert_eq!(world.log_in(&mut console, "maria", b"wrong password"), Err(Refusal::LoginFailed));
    let audit = world.machine.audit(world.now);
    assert_eq!(audit, ["CONSOLE-FAIL", "CONSOLE-FAIL"]);
}

#[test]
fn guessing_costs_time_and_never_locks() {
    let (mut world, _root) = commissioned();
    let mut console = world.connect(CONSOLE);
    for _ in 0..4 {
        assert_eq!(world.log_in(&mut console, "maria", b"a guess"), Err(Refusal::LoginFailed));
    }
    // A new connection of the same user is no way round it, another user does not wait.
    let mut again = world.connect(CONSOLE);
    assert_eq!(world.log_in(&mut again, "maria", PASSWORD), Err(Refusal::TooSoon { secs: 1 }));
    let mut other = world.connect(CONSOLE + 1);
    assert_eq!(world.log_in(&mut other, "maria", PASSWORD), Ok(Role::Admin));
    let maria = Name::try_from("maria").unwrap();
    let mut tried = 0_u32;
    let end = world.now + postern_core::time::Duration::from_secs(86_400);
    while world.now < end {
        // Any proof that is wrong will do; computing one is the guesser's trouble.
        let challenged = world.challenge(&mut again, &maria);
        match challenged.and_then(|_| world.ask(&mut again, Request::Proof { proof: [0; 32] })) {
            Err(Refusal::LoginFailed) => tried += 1,
            Err(Refusal::TooSoon { secs }) => world.pass(u64::from(secs)),
            other => panic!("{other:?}"),
        }
    }
    assert!(tried <= 1450, "{tried} guesses in a day");
    world.pass(60);
    assert_eq!(world.log_in(&mut again, "maria", PASSWORD), Ok(Role::Admin), "never locked for good");
}

#[test]
fn a_proof_is_good_once() {
    let (mut world, _root) = commissioned();
    let mut console = world.connect(CONSOLE);
    let name = Name::try_from("maria").unwrap();
    let challenge = world.challenge(&mut console, &name).unwrap();
    let exchange =
        postern_console::scram::Exchange { name: &name, client_nonce: [7; 16], challenge: &challenge };
    let proof = postern_console::scram::client_final(PASSWORD, exchange).proof;
    assert!(world.ask(&mut console, Request::Proof { proof }).is_ok());
    assert_eq!(world.ask(&mut console, Request::Proof { proof }), Err(Refusal::NotLoggedIn));
    let mut eve = world.connect(CONSOLE);
    world.challenge(&mut eve, &name).unwrap();
    assert_eq!(world.ask(&mut eve, Request::Proof { proof }), Err(Refusal::LoginFailed), "another nonce");
}

#[test]
fn the_first_account_is_an_admin_and_the_only_one_made_like_that() {
    let mut world = World::new();
    let mut console = world.connect(CONSOLE);
    let mut first = account("maria", PASSWORD);
    first.role = Role::Viewer;
    assert!(matches!(world.ask(&mut console, Request::Enrol { account: first }), Ok(Reply::LoggedIn(_))));
    assert_eq!(world.configuration.site().accounts[0].role, Role::Admin);
    assert!(world.ask(&mut console, Request::Status).is_ok(), "who enrols is logged in");
    assert_eq!(world.enrol(&mut console, "eve"), Err(Refusal::AlreadyEnrolled));
    let mut root = world.connect(ROOT);
    assert_eq!(world.enrol(&mut root, "eve"), Err(Refusal::AlreadyEnrolled), "root commits a site instead");
}

#[test]
fn break_glass_needs_the_owner_and_is_good_once() {
    use ed25519_dalek::{Signer, SigningKey};
    use postern_config::signed::BreakGlass;

    let (mut world, mut root) = commissioned();
    let owner = SigningKey::from_bytes(&[3; 32]);
    let mut console = world.connect(CONSOLE);
    assert_eq!(world.ask(&mut console, Request::BreakGlassChallenge), Err(Refusal::NoOwner));
    let mut next = site("pump-17", 22, world.configuration.site());
    next.owner = Some(owner.verifying_key().to_bytes());
    world.commit(&mut root, &next, Standing::Permanent).unwrap();
    world.machine.audit(world.now);
    let Ok(Reply::BreakGlass { device, nonce }) = world.ask(&mut console, Request::BreakGlassChallenge)
    else {
        panic!("a challenge")
    };
    let signed = |nonce| {
        let signature = owner.sign(&BreakGlass { device, nonce }.message());
        let (signature_r, signature_s) = (*signature.r_bytes(), *signature.s_bytes());
        Request::BreakGlass { signature_r, signature_s }
    };
    assert_eq!(world.ask(&mut console, signed([0; 16])), Err(Refusal::BadSignature));
    assert_eq!(world.enrol(&mut console, "nora"), Err(Refusal::AlreadyEnrolled));
    assert_eq!(world.ask(&mut console, signed(nonce)), Ok(Reply::Done));
    assert!(world.enrol(&mut console, "nora").is_ok());
    assert!(world.machine.audit(world.now).contains(&"BREAK-GLASS".to_owned()));
    assert_eq!(world.ask(&mut console, signed(nonce)), Err(Refusal::BadSignature), "once");
    let mut later = world.connect(CONSOLE);
    assert_eq!(world.enrol(&mut later, "eve"), Err(Refusal::AlreadyEnrolled), "only who broke the glass");
    let names: Vec<&str> =
        world.configuration.site().accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["maria", "nora"], "the others stay");
}
