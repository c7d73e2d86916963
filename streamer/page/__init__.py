"""The page of a service that answers over HTTP: what it knows, to look at."""
