# Stands in for OE-Core's vex.
