SUMMARY = "Partitions of the gateway by their names, and its data partition"
DESCRIPTION = "The names of the partitions are the contract: /run/part/config is what posternd reads and writes, and \
/data is what the device makes itself."
HOMEPAGE = "https://postern.example/"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = " \
    file://postern-storage \
    file://postern-storage.init \
    file://postern-storage.service \
"

POSTERN_UNPACKDIR = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
S = "${POSTERN_UNPACKDIR}"

inherit systemd update-rc.d

COMPATIBLE_MACHINE = "^$"
COMPATIBLE_MACHINE:postern-gateway = ".*"
PACKAGE_ARCH = "${MACHINE_ARCH}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

install_filled() {
    install -d $(dirname ${D}$2)
    sed -e 's,@LIBEXECDIR@,${libexecdir},g' -e 's,@DISK@,${POSTERN_DISK},g' ${S}/$1 > ${D}$2
    chmod $3 ${D}$2
}

do_install() {
    install -d -m 0755 ${D}/data
    install_filled postern-storage ${libexecdir}/postern/storage 0755
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install_filled postern-storage.service ${systemd_system_unitdir}/postern-storage.service 0644
    fi
    if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
        install_filled postern-storage.init ${sysconfdir}/init.d/postern-storage 0755
    fi
}

FILES:${PN} = " \
    /data \
    ${libexecdir}/postern \
    ${sysconfdir}/init.d \
    ${systemd_system_unitdir} \
"

SYSTEMD_SERVICE:${PN} = "postern-storage.service"
INITSCRIPT_NAME = "postern-storage"
INITSCRIPT_PARAMS = "start 38 S . stop 35 0 1 6 ."
