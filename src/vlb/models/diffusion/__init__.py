"""Variational diffusion models: the hierarchy whose q is fixed (Section 3)."""
