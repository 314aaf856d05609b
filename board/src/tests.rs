//! What the compiler does not check: names are unique and found.

use super::*;

#[test]
fn boards_are_found_by_their_names_which_are_unique() {
    for (index, board) in BOARDS.iter().enumerate() {
        assert_eq!(find(board.name), Some(*board), "{}", board.name);
        assert!(BOARDS.iter().skip(index + 1).all(|other| other.name != board.name), "{}", board.name);
    }
    assert_eq!(find("toaster"), None);
}

#[test]
fn what_is_emulated_is_called_tested_and_nothing_else() {
    for board in BOARDS {
        let emulated = board.evidence == Evidence::EmulatedInEveryRelease;
        assert_eq!(emulated, board.emulator.is_some(), "{}", board.name);
    }
}

#[test]
fn the_first_interface_looks_outside() {
    for board in BOARDS {
        assert_eq!(board.interfaces.first().map(|first| first.role), Some(Role::Outside), "{}", board.name);
    }
}
