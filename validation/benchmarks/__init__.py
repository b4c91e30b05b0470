"""Measurements that the README quotes. Not tests: nothing here can fail."""
