FILESEXTRAPATHS:prepend:postern-appliance := "${THISDIR}/files:"

SRC_URI:append:postern-appliance = " file://rauc-slot"

# It names the machine.
PACKAGE_ARCH:postern-appliance = "${MACHINE_ARCH}"

do_install:append:postern-appliance() {
    install -D -m 0755 ${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}/rauc-slot ${D}${libexecdir}/postern/rauc-slot
    sed -i -e 's,@COMPATIBLE@,postern-${MACHINE},' ${D}${nonarch_libdir}/rauc/system.conf
}

FILES:${PN}:append:postern-appliance = " ${libexecdir}/postern/rauc-slot"
