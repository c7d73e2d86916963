"""Rules of the configuration and filters of requests: which items they keep out of a slate."""
