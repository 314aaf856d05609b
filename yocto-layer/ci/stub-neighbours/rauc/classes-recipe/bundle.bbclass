# Stands in for meta-rauc's: every slot of a bundle has something to be filled with.
PACKAGES = ""
python () {
    for slot in (d.getVar("RAUC_BUNDLE_SLOTS") or "").split():
        recipe = d.getVar("RAUC_SLOT_" + slot)
        if not recipe:
            bb.fatal("%s: RAUC_SLOT_%s is not set" % (d.getVar("PN"), slot))
        task = "do_build" if d.getVarFlag("RAUC_SLOT_" + slot, "type") is None else "do_deploy"
        d.appendVarFlag("do_compile", "depends", " %s:%s" % (recipe, task))
}
