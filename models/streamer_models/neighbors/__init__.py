"""Neighbours of items: what was consumed together, and what follows what."""
