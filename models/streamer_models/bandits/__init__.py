"""Contextual bandits: policies score actions, draw slates of them, and learn what came of it."""
