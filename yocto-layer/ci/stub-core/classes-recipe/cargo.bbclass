# Builds with the machine's own cargo, unoptimised, from the crates that BitBake unpacked, and without a network.
B = "${WORKDIR}/build"
export CARGO_HOME = "${UNPACKDIR}/cargo_home"
CARGO_TARGET_SUBDIR = "debug"
CARGO_MANIFEST_PATH ??= "${S}/Cargo.toml"
CARGO_BUILD_FLAGS = "--quiet --frozen --manifest-path=${CARGO_MANIFEST_PATH}"
PACKAGECONFIG_CONFARGS ??= ""
DEPENDS:append = " cargo-native rust-native"

cargo_do_configure() {
    cat > ${CARGO_HOME}/config.toml <<EOF
[source.bitbake]
directory = "${CARGO_HOME}/bitbake"
[source.crates-io]
replace-with = "bitbake"
[build]
target-dir = "${STUB_CARGO_TARGET}"
EOF
    # One folder for native and target alike: here they are the same machine.
    mkdir -p ${B} ${STUB_CARGO_TARGET}
    ln -sfn ${STUB_CARGO_TARGET} ${B}/target
}
STUB_CARGO_TARGET ??= "${TMPDIR}/cargo"
# Debugging information is not looked at here.
export CARGO_PROFILE_DEV_DEBUG = "0"
export CARGO_INCREMENTAL = "0"

cargo_do_compile() {
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET_DIR CARGO_TARGET_DIR
    cargo build ${CARGO_BUILD_FLAGS} ${PACKAGECONFIG_CONFARGS}
}
cargo_do_install() {
    bbfatal "do_install of OE-Core's class installs every program; say which"
}
EXPORT_FUNCTIONS do_configure do_compile do_install
