//! `postern knock NAME` and `postern key`, as the built tool, in a home directory of their own.
//!
//! `POSTERN_REFRESH=1 cargo test -p postern --test client` writes the golden files anew; read the
//! difference before committing it.

mod bench;
mod golden;
mod knocking;
mod secrets;
