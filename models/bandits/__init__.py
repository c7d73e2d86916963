"""Contextual bandits: policies, and slates drawn with their propensities."""
