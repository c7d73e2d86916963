"""Routes of the HTTP service: what each takes, and what it answers."""
