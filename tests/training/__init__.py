"""The trainer's own tests."""
