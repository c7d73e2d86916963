"""Models that are trained on a schedule, on all there is at once: what online ones are held to."""
