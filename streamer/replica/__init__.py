"""Merged tables of all partitions, in immutable versions."""
