# Splits what was installed into packages, and refuses what is in none of them (OE-Core's installed-vs-shipped).
python do_package() {
    import fnmatch, json
    root = d.getVar("D")
    found = {}
    for folder, folders, files in os.walk(root):
        for name in files + [f for f in folders if not os.listdir(os.path.join(folder, f))]:
            path = os.path.join(folder, name)
            found["/" + os.path.relpath(path, root)] = "%04o" % (os.lstat(path).st_mode & 0o7777)
    packages, left = {}, dict(found)
    for package in d.getVar("PACKAGES").split():
        patterns = (d.getVar("FILES:" + package) or "").split()
        fits = lambda path: any(fnmatch.fnmatch(path, p) or path.startswith(p.rstrip("/") + "/") for p in patterns)
        packages[package] = {path: left.pop(path) for path in list(left) if fits(path)}
    if left:
        bb.fatal("%s: installed but in no package: %s" % (d.getVar("PN"), " ".join(sorted(left))))
    for conffile in sum(((d.getVar("CONFFILES:" + p) or "").split() for p in packages), []):
        if conffile not in found:
            bb.fatal("%s: CONFFILES names %s, which is not installed" % (d.getVar("PN"), conffile))
    with open(os.path.join(d.getVar("WORKDIR"), "packages.json"), "w") as file:
        json.dump(packages, file, indent=1, sort_keys=True)
}
