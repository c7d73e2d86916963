"""Counts of events: decayed, by user, by item."""
