"""Pure online learning: numpy and numba; no I/O, no clock, no global randomness."""
