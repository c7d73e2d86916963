"""``streamer demo``: the whole system at work for a minute, and the table that shows it."""
