"""Cascades: a coarse band of an image by a model of its own, and the details given it."""
