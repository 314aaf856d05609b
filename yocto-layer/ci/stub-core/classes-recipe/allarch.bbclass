# Stands in for OE-Core's allarch.
