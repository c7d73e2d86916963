"""Rankers: models that order candidates by what channels say of them."""
