FILESEXTRAPATHS:prepend:postern-appliance := "${THISDIR}/files:"

SRC_URI:append:postern-appliance = " file://postern-watchdog.conf"

# The manager feeds the hardware watchdog; the daemon is watched by the manager (WatchdogSec= of posternd.service).
do_install:append:postern-appliance() {
    install -d ${D}${systemd_unitdir}/system.conf.d
    sed -e 's,@SECONDS@,${POSTERN_WATCHDOG_SECONDS},' ${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}/postern-watchdog.conf \
        > ${D}${systemd_unitdir}/system.conf.d/10-postern-watchdog.conf
}
