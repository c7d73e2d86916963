"""A real-time streaming recommender that learns from every event as it happens."""
