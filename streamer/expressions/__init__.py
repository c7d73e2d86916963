"""Conditions on items and requests, in the syntax of CEL: read here, answered over columns
elsewhere."""
