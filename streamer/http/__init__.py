"""The HTTP service: recommendations, events, items, explanations."""
