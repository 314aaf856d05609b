SUMMARY = "What a gateway with Postern needs on top of a bare system"
DESCRIPTION = "Shut ports from the first moment, the daemon, the console on the serial line, the factory configuration."

inherit packagegroup

RDEPENDS:${PN} = " \
    postern-closed \
    postern-console \
    postern-factory-config \
    posternd \
"
