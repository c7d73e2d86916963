"""Whole processes and what runs several of them on one machine."""
