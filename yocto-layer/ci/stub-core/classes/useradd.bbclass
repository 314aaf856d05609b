# Packages that make users say which.
python () {
    for package in (d.getVar("USERADD_PACKAGES") or "").split():
        names = ("USERADD_PARAM:", "GROUPADD_PARAM:", "GROUPMEMS_PARAM:")
        if not any(d.getVar(name + package) for name in names):
            bb.fatal("%s is in USERADD_PACKAGES but nothing is set for it" % package)
}
