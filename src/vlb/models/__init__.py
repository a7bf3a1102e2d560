"""Kinds of model, one folder each, and what all of them offer."""
