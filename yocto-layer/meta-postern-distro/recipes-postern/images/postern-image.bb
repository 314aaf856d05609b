SUMMARY = "A gateway with Postern, ready to be flashed"
DESCRIPTION = "Two slots with a read-only system that drops everything from the first moment, a config partition and a data \
partition. The same users, order of start and partitions as the reference image."

require postern-image.inc
