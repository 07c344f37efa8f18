"""Moments in a database that people already run: pushed from an index, searched there."""
