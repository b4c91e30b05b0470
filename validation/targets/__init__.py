"""Adapters that put other libraries before the suite: one module a library, one factory a target."""
