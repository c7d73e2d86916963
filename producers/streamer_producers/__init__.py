"""What publishes: data sets and a simulator, through streamer.client."""
