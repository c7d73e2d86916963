"""Recall channels: from all items to a few hundred candidates; one file each."""
