# Stands in for OE-Core's extrausers.
