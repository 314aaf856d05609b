FILESEXTRAPATHS:prepend:postern-gateway := "${THISDIR}/files:"

# POSTERN_BOOT_COUNT, set in a machine, says how attempts of a slot are counted; "script" is the reference image's way, the boot script in the boot partition with
# its two copies in the partition `environment`; "uboot" is U-Boot's own boot count in its redundant environment, which
# takes the same partition, for products whose updater expects that.
SRC_URI:append:postern-gateway = " \
    file://postern.cfg \
    ${@'file://postern-bootcount.cfg' if d.getVar('POSTERN_BOOT_COUNT') == 'uboot' else ''} \
"
