SUMMARY = "A signed update of both partitions of a slot, for RAUC"
DESCRIPTION = "Kernel and root file system of postern-image. RAUC writes them into the slot that does not run."
HOMEPAGE = "https://postern.example/"
LICENSE = "MIT"

inherit bundle

RAUC_BUNDLE_COMPATIBLE ?= "postern-${MACHINE}"
RAUC_BUNDLE_VERSION ?= "${DISTRO_VERSION}"
RAUC_BUNDLE_FORMAT ?= "verity"
RAUC_BUNDLE_SLOTS ?= "kernel rootfs"
RAUC_SLOT_rootfs ?= "postern-image"
RAUC_SLOT_rootfs[fstype] ?= "squashfs-zst"
RAUC_SLOT_rootfs[imagetype] ?= "raw"
RAUC_SLOT_kernel ?= "postern-boot"
RAUC_SLOT_kernel[type] ?= "boot"
RAUC_SLOT_kernel[imagetype] ?= "raw"
RAUC_SLOT_kernel[file] ?= "postern-kernel.fit"

# Made once and kept away from the build: RAUC_KEY_FILE and RAUC_CERT_FILE of the site's own configuration.
