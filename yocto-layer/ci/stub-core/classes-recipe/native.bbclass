# Programs for the build machine: recipes that depend on them find them in their PATH.
CLASSOVERRIDE = "class-native"
stub_stage() {
    if [ -d ${D}${bindir} ]; then
        mkdir -p ${STAGING_BINDIR_NATIVE}
        cp ${D}${bindir}/* ${STAGING_BINDIR_NATIVE}
    fi
}
do_install[postfuncs] += "stub_stage"
PACKAGES:class-native = ""
