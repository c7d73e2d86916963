"""Columns of a request's candidates, computed from one version."""
