"""Lossless compression with a model: bits back over an entropy coder, and files that can be trusted."""
