FILESEXTRAPATHS:prepend:postern-gateway := "${THISDIR}/files:"

# Where fw_printenv and fw_setenv find U-Boot's redundant environment, with POSTERN_BOOT_COUNT = "uboot".
SRC_URI:append:postern-gateway = " file://fw_env.config"

do_install:append:postern-gateway:class-target() {
    fw_env=${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}/fw_env.config
    install -D -m 0644 $fw_env ${D}${sysconfdir}/fw_env.config
}

FILES:${PN}-bin:append:postern-gateway = " ${sysconfdir}/fw_env.config"
