SUMMARY = "Stands in for OE-Core's: access to the environment of the boot loader"
LICENSE = "MIT"
PACKAGES = "${PN}-bin ${PN}"
