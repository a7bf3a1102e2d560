"""The ladder network (Section 2.3), which denoises and classifies."""
