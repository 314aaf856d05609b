FILESEXTRAPATHS:prepend:postern := "${THISDIR}/files:"
