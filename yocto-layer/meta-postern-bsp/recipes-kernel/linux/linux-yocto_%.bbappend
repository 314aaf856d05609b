require recipes-kernel/linux/postern-kernel.inc
