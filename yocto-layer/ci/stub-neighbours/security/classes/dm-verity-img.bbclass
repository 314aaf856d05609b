# Stands in for meta-security's dm-verity-img.
