SUMMARY = "The gateway, for a desk: root may log in without a password"
DESCRIPTION = "The same system with a root login on a second serial line or screen, packet tools and the tests. Never ship it."

require postern-image.inc

# This is what it is for.
# nooelint: oelint.var.badimagefeature.allow-empty-password,oelint.var.badimagefeature.allow-root-login,oelint.var.badimagefeature.empty-root-password,oelint.var.badimagefeature.ptest-pkgs
IMAGE_FEATURES += "allow-empty-password allow-root-login empty-root-password ptest-pkgs"
IMAGE_INSTALL += "postern strace"
POSTERN_ROOT_SHELL = "/bin/sh"
