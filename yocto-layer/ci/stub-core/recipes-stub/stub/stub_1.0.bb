SUMMARY = "Provides the names that OE-Core's recipes would"
LICENSE = "MIT"
PROVIDES = "cargo-native dtc-native libpcap rust-native u-boot-mkenvimage-native u-boot-mkimage-native"
PACKAGES = "iptables netbase packagegroup-core-boot strace"
