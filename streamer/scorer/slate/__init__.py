"""Composing slates: what their places ask of each other."""
