"""Thin fronts over the verbs."""
