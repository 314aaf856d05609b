# The protected service: its key is made on the device and lies on the data partition.
FILESEXTRAPATHS:prepend:postern-appliance := "${THISDIR}/files:"
