"""External ids: their bytes, hashes, numbers and slots."""
