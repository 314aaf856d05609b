//! Nobody learns from the time a packet takes which keys there are: the same octets take the same
//! instructions, whether the gateway has their key, and wherever that stands.

use std::path::Path;

use postern_sim::instructions::{Case, Place, count};

fn counted(case: Case, keys: u8) -> u64 {
    count(Path::new(env!("CARGO_BIN_EXE_counted")), case, keys).expect("a process that can be traced")
}

fn same(case: fn(Place) -> Case, keys: u8) -> u64 {
    let [nowhere, first, last] =
        [Place::Nowhere, Place::First, Place::Last].map(|place| counted(case(place), keys));
    assert!(nowhere > 1_000, "nothing was counted");
    assert_eq!((first, last), (nowhere, nowhere), "{keys} keys");
    nowhere
}

#[test]
fn unknown_and_known_keys_cost_the_same_to_the_instruction() {
    let bare = counted(Case::BareTag, 1);
    let [one, two, most] = [1, 2, 64].map(|keys| same(Case::Native, keys));
    assert!(bare > 1_000 && one >= bare, "one check of a tag is {bare}, a packet {one}");
    let hint = two - one;
    assert!(hint * 4 < bare, "a key more costs {hint}, a check {bare}");
    // But for a few where a loop is left, each key costs the same, and there is one check.
    assert!(most.abs_diff(one + 63 * hint) < bare / 4, "{most} for 64, {one} for 1, {hint} for each more");
}

#[test]
fn keys_of_stock_clients_cost_the_same_to_the_instruction() {
    let [one, two, more] = [1, 2, 4].map(|keys| same(Case::Stock, keys));
    let mac = two - one;
    assert!(more.abs_diff(one + 3 * mac) < mac, "{more} for 4, {one} for 1, {mac} for each more");
}
