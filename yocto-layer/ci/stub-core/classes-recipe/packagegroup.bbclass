# Nothing but dependencies.
LICENSE = "MIT"
PACKAGES = "${PN}"
do_fetch[noexec] = "1"
do_unpack[noexec] = "1"
do_compile[noexec] = "1"
do_install[noexec] = "1"
