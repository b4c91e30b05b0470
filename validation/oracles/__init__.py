"""Independent evidence. Nothing here imports refdiff: an oracle that shares a formula proves nothing."""
