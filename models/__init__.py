"""Pure online learning: numpy and numba; no I/O, no clock, no global randomness."""

from models.biased_mf import BiasedMF
from models.history import UserHistory
from models.mf import ImplicitMF
from models.popularity import Popularity

__all__ = ["BiasedMF", "ImplicitMF", "Popularity", "UserHistory"]
