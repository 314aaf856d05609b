SUMMARY = "The gateway with slots that dm-verity verifies"
DESCRIPTION = "postern-image as a file system with its hash tree. conf/distro/include/postern-verity.inc says how the \
initramfs with the root hash gets into the kernel."

require recipes-postern/images/postern-image.inc

inherit dm-verity-img
