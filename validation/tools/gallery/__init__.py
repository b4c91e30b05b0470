"""The gallery: ten classic bugs, and what the suite says of each."""
