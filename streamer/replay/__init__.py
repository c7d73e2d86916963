"""Logged streams: what the live code, or another policy, would have made of them."""
