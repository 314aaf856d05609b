SUMMARY = "Stands in for the layer's own"
LICENSE = "MIT"
