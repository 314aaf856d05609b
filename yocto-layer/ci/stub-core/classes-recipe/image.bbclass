# An image: what it installs must be provided by somebody, and its kickstart file must be found.
IMAGE_INSTALL ?= ""
IMAGE_FSTYPES ?= "ext4"
RDEPENDS:${PN} += "${IMAGE_INSTALL} ${MACHINE_ESSENTIAL_EXTRA_RDEPENDS}"
PACKAGES = "${PN}"
WKS_SEARCH_PATH ?= ""
WKS_FULL_PATH = "${@bb.utils.which(d.getVar('WKS_SEARCH_PATH'), d.getVar('WKS_FILE') or 'none')}"
do_rootfs() {
    :
}
do_rootfs[recrdeptask] += "do_package"
do_rootfs[depends] += "${@' '.join(r + ':do_build' for r in (d.getVar('EXTRA_IMAGEDEPENDS') or '').split())}"
addtask rootfs after do_install before do_build
python () {
    if "wic" in (d.getVar("IMAGE_FSTYPES") or "") and not d.getVar("WKS_FULL_PATH"):
        bb.fatal("%s: WKS_FILE %s is not found" % (d.getVar("PN"), d.getVar("WKS_FILE")))
    if "read-only-rootfs" not in d.getVar("IMAGE_FEATURES").split():
        bb.fatal("%s: its root file system can be written" % d.getVar("PN"))
}
