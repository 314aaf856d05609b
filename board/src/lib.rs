//! One `const` description a product: console, watchdog, interfaces, storage, budgets.
//!
//! Data only. A key that does not exist or a value that contradicts another does not compile: every
//! board of [`BOARDS`] is checked below in a constant. How to add one stands in `BOARDS.md`.

#![no_std]
#![forbid(unsafe_code)]

mod beaglebone;
mod check;
mod emulator;
mod imx8m;
mod kernel;
mod product;
mod qemu_arm64;
mod qemu_armv7;
mod raspberry_pi;
mod storage;

pub use emulator::{Emulator, Firmware};
pub use kernel::{Architecture, Kernel};
pub use product::{
    Board, Budgets, Console, Evidence, Interface, Led, Priorities, Role, Scheduling, Watchdog,
};
pub use storage::{Loader, Sizes, Storage};

/// Every board, in the order in which tools list them.
pub const BOARDS: [&Board; 6] = [
    &qemu_arm64::BOARD,
    &qemu_armv7::BOARD,
    &raspberry_pi::CM4,
    &raspberry_pi::CM5,
    &imx8m::BOARD,
    &beaglebone::BOARD,
];

/// The board of that name.
pub fn find(name: &str) -> Option<&'static Board> {
    BOARDS.into_iter().find(|board| board.name == name)
}

const _: () = {
    let mut index = 0;
    while index < BOARDS.len() {
        check::check(BOARDS[index]);
        index += 1;
    }
};

#[cfg(test)]
mod tests;
