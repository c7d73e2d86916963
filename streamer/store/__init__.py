"""The parameter store: one protocol, and an implementation each for one host, many, and none."""

from streamer.store.open import open_store

__all__ = ["open_store"]
