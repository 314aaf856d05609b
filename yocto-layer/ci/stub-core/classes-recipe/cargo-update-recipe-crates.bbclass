# Stands in for OE-Core's cargo-update-recipe-crates.
