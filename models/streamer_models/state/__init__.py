"""Tables, ids and merged state: what models learn into. All that compiles kernels builds on it."""

from streamer_models.kernel_files import name_files_apart

name_files_apart()
