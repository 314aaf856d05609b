SUMMARY = "What is in force on a gateway that nobody has configured yet"
DESCRIPTION = "A site file made into a factory profile. It belongs to the product, not to Postern: replace factory.toml \
in a layer of your own. It holds no secret: every device has the same."
HOMEPAGE = "https://postern.example/"
SECTION = "net"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

DEPENDS = "postern-native"

SRC_URI = "file://factory.toml"

POSTERN_UNPACKDIR = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
S = "${POSTERN_UNPACKDIR}"

inherit allarch

do_configure[noexec] = "1"

do_compile() {
    postern check ${POSTERN_UNPACKDIR}/factory.toml
    postern compile --profile ${POSTERN_UNPACKDIR}/factory.toml --output ${B}/factory.profile
}

do_install() {
    install -D -m 0644 ${B}/factory.profile ${D}${datadir}/postern/factory.profile
    install -d ${D}${sysconfdir}/default
    echo 'FACTORY="--factory ${datadir}/postern/factory.profile"' > ${D}${sysconfdir}/default/posternd-factory
    chmod 0644 ${D}${sysconfdir}/default/posternd-factory
}

FILES:${PN} = "${datadir}/postern ${sysconfdir}/default/posternd-factory"
CONFFILES:${PN} = "${sysconfdir}/default/posternd-factory"
