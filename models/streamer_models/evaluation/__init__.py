"""Metrics of rankings, off-policy estimators, drift."""
