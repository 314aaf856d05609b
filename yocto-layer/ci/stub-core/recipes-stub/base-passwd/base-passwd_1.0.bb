SUMMARY = "Stands in for OE-Core's: the groups that every system has"
LICENSE = "MIT"
FILES:${PN} = "${datadir}"
do_install() {
    install -d ${D}${datadir}/base-passwd
    printf 'root:*:0:\nusers:*:100:\nnogroup:*:65534:\n' > ${D}${datadir}/base-passwd/group.master
}
