"""The live system in memory, under a clock that is set by hand."""
