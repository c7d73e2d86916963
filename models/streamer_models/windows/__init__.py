"""Sums, sessions and distinct counts over windows of event time."""
