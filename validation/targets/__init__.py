"""Adapters of other libraries: one module per library, one factory per target."""
