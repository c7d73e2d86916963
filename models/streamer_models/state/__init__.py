"""Tables, ids and merged state: what models learn into."""
