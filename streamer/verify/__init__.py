"""Re-execution of what a store recorded: the same parameters, the same slates."""
