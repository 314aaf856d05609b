SUMMARY = "The gateway, for a desk: root may log in without a password"
DESCRIPTION = "The same system with a root login on a second serial line or screen, packet tools and the tests. Never ship it."

require postern-image.inc

IMAGE_FEATURES += "allow-empty-password allow-root-login empty-root-password ptest-pkgs"
IMAGE_INSTALL += "postern strace"
EXTRA_USERS_PARAMS:remove = "usermod --shell /bin/false root;"
