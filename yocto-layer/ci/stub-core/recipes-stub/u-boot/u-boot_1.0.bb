SUMMARY = "Stands in for OE-Core's: the boot loader"
LICENSE = "MIT"
PROVIDES = "virtual/bootloader"
