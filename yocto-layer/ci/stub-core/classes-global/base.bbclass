# The tasks of a recipe, in their usual order.
inherit logging package

addtask fetch
do_fetch[network] = "1"
python do_fetch() {
    uris = (d.getVar("SRC_URI") or "").split()
    if uris:
        bb.fetch2.Fetch(uris, d).download()
}
addtask unpack after do_fetch
do_unpack[cleandirs] = "${UNPACKDIR}"
python do_unpack() {
    uris = (d.getVar("SRC_URI") or "").split()
    if uris:
        bb.fetch2.Fetch(uris, d).unpack(d.getVar("UNPACKDIR"))
    stub_check_licenses(d)
}
addtask patch after do_unpack
do_patch[noexec] = "1"
do_patch() {
    :
}
addtask configure after do_patch
do_configure[dirs] = "${B}"
base_do_configure() {
    :
}
addtask compile after do_configure
do_compile[dirs] = "${B}"
base_do_compile() {
    :
}
addtask install after do_compile
do_install[dirs] = "${B}"
do_install[cleandirs] = "${D}"
base_do_install() {
    :
}
addtask package after do_install
addtask build after do_package
do_build[noexec] = "1"
do_build() {
    :
}
do_build[recrdeptask] += "do_package"
do_configure[deptask] = "do_install"
do_package[rdeptask] = "do_install"
EXPORT_FUNCTIONS do_configure do_compile do_install

def stub_check_licenses(d):
    """The sums of LIC_FILES_CHKSUM, as OE-Core's QA checks them."""
    import hashlib
    for entry in (d.getVar("LIC_FILES_CHKSUM") or "").split():
        path, _, parameters = entry.removeprefix("file://").partition(";")
        wanted = dict(p.split("=", 1) for p in parameters.split(";"))["md5"]
        path = path if path.startswith("/") else os.path.join(d.getVar("S"), path)
        if path.startswith(d.getVar("COMMON_LICENSE_DIR")):
            continue
        with open(path, "rb") as file:
            if hashlib.md5(file.read()).hexdigest() != wanted:
                bb.fatal("%s: LIC_FILES_CHKSUM is not that of %s" % (d.getVar("PN"), path))

python () {
    pn = d.getVar("PN")
    d.appendVar("PROVIDES", " " + pn)
    if pn in d.getVar("OVERRIDES").split(":"):
        bb.fatal("%s is the name of a recipe and an override" % pn)
    if d.getVar("LICENSE") == "INVALID":
        bb.fatal("%s: no LICENSE" % pn)
    uris = (d.getVar("SRC_URI") or "").split()
    crates = [uri.split(";")[0].split("/")[-2:] for uri in uris if uri.startswith("crate://")]
    without = ["%s-%s" % (n, v) for n, v in crates if not d.getVarFlag("SRC_URI", "%s-%s.sha256sum" % (n, v))]
    if without:
        bb.fatal("%s: no sha256sum for %s" % (pn, " ".join(without)))
    if any(uri.startswith("git://") for uri in uris):
        bb.fetch2.get_srcrev(d)
    compatible = d.getVar("COMPATIBLE_MACHINE")
    if compatible:
        import re
        if not any(re.match(compatible, name) for name in d.getVar("MACHINEOVERRIDES").split(":")):
            raise bb.parse.SkipRecipe("incompatible with machine %s" % d.getVar("MACHINE"))
}
