"""Each service as a process, put together from a configuration."""
