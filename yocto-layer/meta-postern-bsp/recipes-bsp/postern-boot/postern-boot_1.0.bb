SUMMARY = "Boot script, kernel image and boot count of a gateway with two slots"
DESCRIPTION = "The same boot script as the reference image: it takes an attempt from the slot, starts its kernel, and takes \
the other slot when no attempt is left. The kernel is a FIT image with hashes. A slot that works is confirmed."
HOMEPAGE = "https://postern.example/"
SECTION = "bootloaders"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

DEPENDS = "dtc-native u-boot-mkenvimage-native u-boot-mkimage-native"

SRC_URI = " \
    file://boot.cmd \
    file://boot.sed \
    file://image.its \
    file://postern-confirm \
    file://postern-confirm.init \
    file://postern-confirm.service \
"

POSTERN_UNPACKDIR = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
S = "${POSTERN_UNPACKDIR}"
B = "${WORKDIR}/build"

inherit deploy systemd update-rc.d

# Only for machines that require postern-gateway.inc.
COMPATIBLE_MACHINE = "^$"
COMPATIBLE_MACHINE:postern-gateway = ".*"
PACKAGE_ARCH = "${MACHINE_ARCH}"

POSTERN_MKIMAGE ??= "uboot-mkimage"
POSTERN_MKENVIMAGE ??= "uboot-mkenvimage"
POSTERN_FIT_ARCHITECTURE = "arm"
POSTERN_FIT_ARCHITECTURE:aarch64 = "arm64"
POSTERN_ENVIRONMENT_ADDRESS = "${@hex(int(d.getVar('POSTERN_LOAD_ADDRESS') or '0', 0) + 0x08000000)}"
POSTERN_FIT_ADDRESS = "${@hex(int(d.getVar('POSTERN_LOAD_ADDRESS') or '0', 0) + 0x0a000000)}"

do_configure[noexec] = "1"

do_compile[depends] += "virtual/kernel:do_deploy"
do_compile[cleandirs] = "${B}"
do_compile() {
    kernel=${DEPLOY_DIR_IMAGE}/${POSTERN_KERNEL_FILE}
    # The 64-bit kernel is a plain image; the 32-bit one unpacks itself.
    if [ "$(dd if=$kernel bs=1 skip=56 count=3 2>/dev/null)" = "ARM" ]; then
        compression=gzip
        gzip -9 -n -c $kernel > ${B}/kernel
    else
        compression=none
        cp $kernel ${B}/kernel
    fi
    sed -e 's,@MACHINE@,${MACHINE},' -e 's,@ARCHITECTURE@,${POSTERN_FIT_ARCHITECTURE},' \
        -e "s,@COMPRESSION@,$compression," -e 's,@LOAD@,${POSTERN_LOAD_ADDRESS},' ${S}/image.its > ${B}/image.its
    if [ -n "${POSTERN_DEVICE_TREE}" ]; then
        cp ${DEPLOY_DIR_IMAGE}/${POSTERN_DEVICE_TREE} ${B}/devicetree
        what='${faddr}'
    else
        # The loader's own description of the machine.
        sed -i -e '/^        fdt {$/,/^        };$/d' -e '/fdt = "fdt";/d' ${B}/image.its
        what='${faddr}:kernel - ${fdtcontroladdr}'
    fi
    ${POSTERN_MKIMAGE} -f image.its postern-kernel.fit

    sed -f ${S}/boot.sed ${S}/boot.cmd > boot.cmd
    for expected in 'setenv root root-a' 'setenv root root-b' 'root=PARTLABEL='; do
        grep -q "$expected" boot.cmd || bbfatal "boot.sed does not fit boot.cmd: there is no $expected"
    done
    kernels=$(grep -o 'kernel-[ab];' boot.cmd | wc -l)
    roots=$(grep -o 'root-[ab];' boot.cmd | wc -l)
    [ "$kernels" = "$roots" ] || bbfatal "boot.sed does not fit boot.cmd: $kernels times a kernel, $roots times a root"
    sed -i -e 's,@ENVIRONMENT_ADDRESS@,${POSTERN_ENVIRONMENT_ADDRESS},' -e 's,@FIT_ADDRESS@,${POSTERN_FIT_ADDRESS},' \
        -e 's,@INTERFACE@,${POSTERN_UBOOT_INTERFACE},' -e 's,@DEVICE@,${POSTERN_UBOOT_DEVICE},' \
        -e 's|@ARGUMENTS@|${POSTERN_ARGUMENTS}|' -e "s,@BOOT@,$what," boot.cmd
    if grep -n '@' boot.cmd; then
        bbfatal "boot.cmd has a place that nothing was put in"
    fi
    ${POSTERN_MKIMAGE} -A ${POSTERN_FIT_ARCHITECTURE} -T script -C none -n Postern -d boot.cmd boot.scr

    # Two copies of the choice, each with its sum, at the start and in the middle of the partition.
    for slot in A B; do
        printf 'left=%s\nslot=%s\n' "${POSTERN_ATTEMPTS}" "$slot" > environment.txt
        ${POSTERN_MKENVIMAGE} -p 0 -s 4096 -o environment-$slot environment.txt
    done
    cp environment-A postern-environment.bin
    dd if=environment-A of=postern-environment.bin bs=1024 seek=512 conv=notrunc 2>/dev/null
}
do_compile[dirs] = "${B}"

install_filled() {
    install -d $(dirname ${D}$2)
    sed -e 's,@LIBEXECDIR@,${libexecdir},g' -e 's,@DATADIR@,${datadir},g' ${S}/$1 > ${D}$2
    chmod $3 ${D}$2
}

do_install() {
    for slot in A B; do
        install -D -m 0644 ${B}/environment-$slot ${D}${datadir}/postern/environment-$slot
    done
    install_filled postern-confirm ${libexecdir}/postern/confirm 0755
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install_filled postern-confirm.service ${systemd_system_unitdir}/postern-confirm.service 0644
    fi
    if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
        install_filled postern-confirm.init ${sysconfdir}/init.d/postern-confirm 0755
    fi
}

do_deploy() {
    for file in boot.scr postern-environment.bin postern-kernel.fit; do
        install -D -m 0644 ${B}/$file ${DEPLOYDIR}/$file
    done
}
addtask deploy after do_compile before do_build

FILES:${PN} = " \
    ${datadir}/postern \
    ${libexecdir}/postern \
    ${sysconfdir}/init.d \
    ${systemd_system_unitdir} \
"

SYSTEMD_SERVICE:${PN} = "postern-confirm.service"
INITSCRIPT_NAME = "postern-confirm"
INITSCRIPT_PARAMS = "start 95 2 3 4 5 ."
