//! The flashable image of a board: layout, file systems, assembly.
//!
//! Nothing is mounted and nothing runs as root: files are written and put where the [`layout`] says.
//! The same input gives the same octets, on any machine.

pub mod assemble;
pub mod boot;
pub mod cpio;
mod debugger;
pub mod disk;
pub mod factory;
pub mod gpt;
pub mod initramfs;
pub mod kernel;
pub mod layout;
pub mod machine;
pub mod outside;
pub mod packages;
pub mod person;
pub mod program;
pub mod root;
pub mod sbom;
pub mod settings;
pub mod tree;
pub mod verity;
