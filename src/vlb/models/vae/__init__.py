"""Variational autoencoders of any depth (Section 2)."""
