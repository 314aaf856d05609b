# Stands in for meta-swupdate's: every image of an update has a kind.
PACKAGES = ""
python () {
    for image in (d.getVar("SWUPDATE_IMAGES") or "").split():
        if not d.getVarFlag("SWUPDATE_IMAGES_FSTYPES", image):
            bb.fatal("%s: SWUPDATE_IMAGES_FSTYPES[%s] is not set" % (d.getVar("PN"), image))
    for recipe in (d.getVar("IMAGE_DEPENDS") or "").split():
        d.appendVarFlag("do_compile", "depends", " %s:do_build" % recipe)
}
