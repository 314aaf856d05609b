SUMMARY = "An update of both partitions of a slot, for SWUpdate"
DESCRIPTION = "Kernel and root file system of postern-image for either slot; the caller names the one that does not run."
HOMEPAGE = "https://postern.example/"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://sw-description"

inherit swupdate

IMAGE_DEPENDS = "postern-boot postern-image"
SWUPDATE_IMAGES = "postern-image postern-kernel"
SWUPDATE_IMAGES_FSTYPES[postern-image] = ".squashfs-zst"
SWUPDATE_IMAGES_FSTYPES[postern-kernel] = ".fit"
SWUPDATE_IMAGES_NOAPPEND_MACHINE[postern-kernel] = "1"
