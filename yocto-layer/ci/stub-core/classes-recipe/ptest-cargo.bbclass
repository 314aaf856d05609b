# Stands in for OE-Core's ptest-cargo: tests for the target are not built here.
inherit cargo
