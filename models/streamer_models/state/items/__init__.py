"""What a catalogue says of items, by rows."""
