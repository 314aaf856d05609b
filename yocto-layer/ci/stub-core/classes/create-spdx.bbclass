# Stands in for OE-Core's create-spdx.
