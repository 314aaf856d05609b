//! The freestanding binary has no start-up code: it is linked, read and never run.

fn main() {
    // The C library only for memcpy and its kin, which the compiler calls by name.
    for argument in ["-nostartfiles", "-lc", "-Wl,--entry=0", "-Wl,--emit-relocs"] {
        println!("cargo::rustc-link-arg-bin=no-alloc={argument}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
