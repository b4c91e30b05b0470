"""What a right target returns: values, their tolerances and their domains. Pure functions; no target is called."""
