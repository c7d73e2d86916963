"""Pure online learning: numpy and numba; no I/O, no clock, no global randomness."""

from streamer_models.counters.history import UserHistory
from streamer_models.counters.popularity import Popularity
from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.factorization.mf import ImplicitMF

__all__ = ["BiasedMF", "ImplicitMF", "Popularity", "UserHistory"]
