# 100 is the group of the control socket on every gateway of Postern, and `users` has no use here.
do_install:append:postern-appliance() {
    sed -i -e '/^users:/d' ${D}${datadir}/base-passwd/group.master
}
