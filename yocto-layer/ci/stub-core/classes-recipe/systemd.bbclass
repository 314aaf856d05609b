# Units that are enabled must be named, and installed where there is systemd.
SYSTEMD_PACKAGES ?= "${PN}"
python () {
    if d.getVar("CLASSOVERRIDE") != "class-target":
        return
    for package in d.getVar("SYSTEMD_PACKAGES").split():
        if not d.getVar("SYSTEMD_SERVICE:" + package):
            bb.fatal("%s: SYSTEMD_SERVICE:%s is not set" % (d.getVar("PN"), package))
        if package not in d.getVar("PACKAGES").split():
            bb.fatal("%s: SYSTEMD_PACKAGES has %s, which is no package" % (d.getVar("PN"), package))
    d.appendVarFlag("do_install", "postfuncs", " stub_check_units")
}
python stub_check_units() {
    if "systemd" not in d.getVar("DISTRO_FEATURES").split():
        return
    import re
    for package in d.getVar("SYSTEMD_PACKAGES").split():
        for unit in d.getVar("SYSTEMD_SERVICE:" + package).split():
            path = d.getVar("D") + d.getVar("systemd_system_unitdir") + "/" + re.sub("@.*[.]", "@.", unit)
            if not os.path.exists(path):
                bb.fatal("%s: %s is not installed" % (d.getVar("PN"), unit))
}
