"""Features over windows of event time: definitions, the pure engine, and the values known."""
