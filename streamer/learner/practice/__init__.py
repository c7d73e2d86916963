"""Practising: before an event is learned, what would have been recommended, and what was chosen."""
