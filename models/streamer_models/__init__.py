"""Pure online learning: numpy and numba; no I/O, no clock, no global randomness."""

from streamer_models.kernel_files import name_files_apart

name_files_apart()
