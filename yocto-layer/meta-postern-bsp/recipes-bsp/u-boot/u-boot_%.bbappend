FILESEXTRAPATHS:prepend := "${THISDIR}/files:"

# How attempts of a slot are counted: "script" is the reference image's way, the boot script in the boot partition with
# its two copies in the partition `environment`; "uboot" is U-Boot's own boot count in its redundant environment, which
# takes the same partition, for products whose updater expects that.
POSTERN_BOOT_COUNT ??= "script"

SRC_URI:append:postern-gateway = " file://postern.cfg"
SRC_URI:append:postern-gateway = "${@' file://postern-bootcount.cfg' if d.getVar('POSTERN_BOOT_COUNT') == 'uboot' else ''}"
