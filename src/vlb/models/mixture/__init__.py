"""Mixtures, whose sum over the latent can be done."""
