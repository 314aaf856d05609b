# Scripts that are linked must be named, have an order, and be installed where there is sysvinit.
INITSCRIPT_PACKAGES ?= "${PN}"
def stub_script(d, name, package):
    return d.getVar("%s:%s" % (name, package)) or d.getVar(name)
python () {
    if d.getVar("CLASSOVERRIDE") != "class-target":
        return
    for package in d.getVar("INITSCRIPT_PACKAGES").split():
        for name in ("INITSCRIPT_NAME", "INITSCRIPT_PARAMS"):
            if not stub_script(d, name, package):
                bb.fatal("%s: %s of %s is not set" % (d.getVar("PN"), name, package))
    d.appendVarFlag("do_install", "postfuncs", " stub_check_scripts")
}
python stub_check_scripts() {
    if "sysvinit" not in d.getVar("DISTRO_FEATURES").split():
        return
    for package in d.getVar("INITSCRIPT_PACKAGES").split():
        path = "%s/etc/init.d/%s" % (d.getVar("D"), stub_script(d, "INITSCRIPT_NAME", package))
        if not os.access(path, os.X_OK):
            bb.fatal("%s: %s is not installed or cannot be executed" % (d.getVar("PN"), path))
}
