SUMMARY = "Hides the management ports of a gateway and opens them for who knows the knock"
DESCRIPTION = "The daemon posternd, which keeps ports shut and opens them for the sender of a knock or of one sealed \
datagram; postern-console, the console on a serial line; and postern, the tool and client for the host."
HOMEPAGE = "https://postern.example/"
SECTION = "net"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = " \
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
    file://LICENSE-MIT;md5=c1d8b2782f682b6e9c64fb8b1c5212a7 \
"

DEPENDS = "libpcap"
DEPENDS:class-native = ""
DEPENDS:class-nativesdk = ""

require postern-source.inc

SRC_URI += " \
    file://default \
    file://keep \
    file://postern-closed \
    file://postern-closed.init \
    file://postern-closed.service \
    file://postern-console.init \
    file://postern-console@.service \
    file://posternd.init \
    file://posternd.service \
    file://run-ptest \
"
require ${BPN}-crates.inc

inherit cargo cargo-update-recipe-crates systemd update-rc.d useradd ptest-cargo

# Only what is shipped is built; the host gets its tool alone, which needs no libpcap.
POSTERN_PACKAGES = "--package posternd --package postern --bins"
POSTERN_PACKAGES:class-native = "--package postern --bins"
POSTERN_PACKAGES:class-nativesdk = "--package postern --bins"
# Tests that bring all they need along.
POSTERN_PACKAGES:task-compile-ptest-cargo = "--package postern-core --package posternd --lib"
CARGO_BUILD_FLAGS:append = " ${POSTERN_PACKAGES}"

# The oldest libpcap of the releases that are served; its crate would otherwise load the library to ask.
export LIBPCAP_VER = "1.10.3"
export LIBPCAP_LIBDIR = "${STAGING_LIBDIR}"

# BitBake strips, and keeps what it has stripped for debuggers.
export CARGO_PROFILE_RELEASE_STRIP = "false"

# What follows is the machine's.
PACKAGE_ARCH:class-target = "${MACHINE_ARCH}"

# Where the daemon finds its configuration: a partition, or an image file of one.
POSTERN_STORE ??= "/dev/disk/by-partlabel/config"
# The serial line of the console, and its speed.
POSTERN_CONSOLE ??= "ttyS0"
POSTERN_CONSOLE_BAUD ??= "115200"
# The hardware watchdog and its time-out in seconds; with systemd, its manager feeds it.
POSTERN_WATCHDOG ??= "/dev/watchdog0"
POSTERN_WATCHDOG_SECONDS ??= "10"
# Further options of posternd.
POSTERN_OPTIONS ??= "--allow-reboot"

# $1 is filled in with what is known here and installed as $2 with mode $3.
install_filled() {
    install -d $(dirname ${D}$2)
    sed -e 's,@STORE@,${POSTERN_STORE},g' \
        -e 's,@CONSOLE@,${POSTERN_CONSOLE},g' \
        -e 's,@BAUD@,${POSTERN_CONSOLE_BAUD},g' \
        -e 's,@WATCHDOG@,${POSTERN_WATCHDOG},g' \
        -e 's,@WATCHDOG_SECONDS@,${POSTERN_WATCHDOG_SECONDS},g' \
        -e 's,@OPTIONS@,${POSTERN_OPTIONS},g' \
        -e 's,@SBINDIR@,${sbindir},g' \
        -e 's,@LIBEXECDIR@,${libexecdir},g' \
        -e 's,@SYSCONFDIR@,${sysconfdir},g' \
        ${POSTERN_UNPACKDIR}/$1 > ${D}$2
    chmod $3 ${D}$2
}

do_install() {
    install -D -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/postern ${D}${bindir}/postern
}

do_install:append:class-target() {
    for program in posternd postern-console; do
        install -D -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/$program ${D}${sbindir}/$program
    done
    for family in v4 v6; do
        install -D -m 0644 ${S}/image/files/root/etc/firewall/closed.$family ${D}${sysconfdir}/firewall/closed.$family
    done
    install_filled default ${sysconfdir}/default/posternd 0644
    install_filled postern-closed ${libexecdir}/postern/closed 0755
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        for unit in postern-closed.service postern-console@.service posternd.service; do
            install_filled $unit ${systemd_system_unitdir}/$unit 0644
        done
    fi
    if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
        install_filled keep ${libexecdir}/postern/keep 0755
        for script in postern-closed postern-console posternd; do
            install_filled $script.init ${sysconfdir}/init.d/$script 0755
        done
    fi
}

PACKAGE_BEFORE_PN = "postern-closed postern-console posternd"

SUMMARY:postern-closed = "Shuts the firewall before there is any network"
FILES:postern-closed = " \
    ${libexecdir}/postern/closed \
    ${sysconfdir}/firewall \
    ${sysconfdir}/init.d/postern-closed \
    ${systemd_system_unitdir}/postern-closed.service \
"
SUMMARY:posternd = "The daemon that keeps the ports shut"
FILES:posternd = " \
    ${libexecdir}/postern/keep \
    ${sbindir}/posternd \
    ${sysconfdir}/default/posternd \
    ${sysconfdir}/init.d/posternd \
    ${systemd_system_unitdir}/posternd.service \
"
SUMMARY:postern-console = "The console of the gateway on a serial line"
FILES:postern-console = " \
    ${sbindir}/postern-console \
    ${sysconfdir}/init.d/postern-console \
    ${systemd_system_unitdir}/postern-console@.service \
"
CONFFILES:postern-closed = "${sysconfdir}/firewall/closed.v4 ${sysconfdir}/firewall/closed.v6"
CONFFILES:posternd = "${sysconfdir}/default/posternd"

# Protocol names of the rules stand in /etc/protocols, which netbase brings.
RDEPENDS:postern-closed = "iptables netbase"
RDEPENDS:posternd = "iptables netbase"
RDEPENDS:postern-console = "posternd"

# Parts of the kernel, where they are modules.
RRECOMMENDS:posternd = " \
    kernel-module-ip-set \
    kernel-module-ip-set-bitmap-port \
    kernel-module-ip-set-hash-ipport \
    kernel-module-ip-set-hash-netport \
    kernel-module-ip6table-filter \
    kernel-module-iptable-filter \
    kernel-module-nf-conntrack-netlink \
    kernel-module-xt-addrtype \
    kernel-module-xt-comment \
    kernel-module-xt-conntrack \
    kernel-module-xt-hl \
    kernel-module-xt-set \
    kernel-module-xt-tcpudp \
"

SYSTEMD_PACKAGES = "postern-closed postern-console posternd"
SYSTEMD_SERVICE:postern-closed = "postern-closed.service"
SYSTEMD_SERVICE:postern-console = "postern-console@${POSTERN_CONSOLE}.service"
SYSTEMD_SERVICE:posternd = "posternd.service"

# Before any interface: networking comes in the run levels behind S.
INITSCRIPT_PACKAGES = "postern-closed postern-console posternd"
INITSCRIPT_NAME:postern-closed = "postern-closed"
INITSCRIPT_PARAMS:postern-closed = "start 40 S ."
INITSCRIPT_NAME:posternd = "posternd"
INITSCRIPT_PARAMS:posternd = "start 45 S . stop 90 0 1 6 ."
INITSCRIPT_NAME:postern-console = "postern-console"
INITSCRIPT_PARAMS:postern-console = "start 90 2 3 4 5 . stop 10 0 1 6 ."

USERADD_PACKAGES = "postern-console posternd"
GROUPADD_PARAM:posternd = "--system postern"
GROUPADD_PARAM:postern-console = "--system postern"
USERADD_PARAM:postern-console = "--system --no-create-home --home-dir / --shell /bin/false --comment 'serial console' \
--gid postern console"

BBCLASSEXTEND = "native nativesdk"
