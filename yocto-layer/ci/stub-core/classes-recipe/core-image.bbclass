# An image of the usual kind.
inherit image
CORE_IMAGE_EXTRA_INSTALL ?= ""
