SUMMARY = "Stands in for OE-Core's: settings of systemd"
LICENSE = "MIT"
FILES:${PN} = "${systemd_unitdir}"
