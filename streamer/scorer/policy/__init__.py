"""Policies that draw a slate, and the posteriors they draw from."""
