"""Writes what the clients of the HTTP API take from its OpenAPI document: ``make clients``."""
