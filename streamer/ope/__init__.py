"""Off-policy evaluation: logs of decisions, policies to weigh on them, and the result."""
