# What a task deploys is there for images.
DEPLOYDIR = "${WORKDIR}/deploy"
do_deploy[cleandirs] = "${DEPLOYDIR}"
stub_deploy() {
    mkdir -p ${DEPLOY_DIR_IMAGE}
    cp ${DEPLOYDIR}/* ${DEPLOY_DIR_IMAGE}
}
do_deploy[postfuncs] += "stub_deploy"
