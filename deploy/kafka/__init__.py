"""A real Kafka broker on this machine: no container, only Java."""
