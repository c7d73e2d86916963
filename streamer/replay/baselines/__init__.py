"""Textbook models to compare with, strictly online, and the product's own learners alone."""
