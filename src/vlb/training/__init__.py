"""Training: one loop, resumable at any moment, and the recipes."""
