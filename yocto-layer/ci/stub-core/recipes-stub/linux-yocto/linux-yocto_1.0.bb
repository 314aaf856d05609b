SUMMARY = "Stands in for OE-Core's: a kernel with nothing in it"
LICENSE = "MIT"
PROVIDES = "virtual/kernel"
PACKAGES_DYNAMIC = "^kernel-module-.*"

inherit deploy

# The mark at octet 56 of a 64-bit kernel image; 32-bit ones have none there.
do_deploy() {
    head -c 4096 /dev/zero > ${DEPLOYDIR}/${KERNEL_IMAGETYPE}
    if [ "${KERNEL_IMAGETYPE}" = "Image" ]; then
        printf 'ARMd' | dd of=${DEPLOYDIR}/${KERNEL_IMAGETYPE} bs=1 seek=56 conv=notrunc 2>/dev/null
    fi
}
addtask deploy after do_compile before do_build
