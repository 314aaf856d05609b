SUMMARY = "Stands in for OE-Core's: an SSH server"
LICENSE = "MIT"
SRC_URI = "file://dropbear.default"
FILES:${PN} = "${sysconfdir}"
do_install() {
    install -D -m 0644 ${UNPACKDIR}/dropbear.default ${D}${sysconfdir}/default/dropbear
}
