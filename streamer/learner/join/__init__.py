"""Feedback joined to the decisions it answers."""
