"""Samplers beyond the ancestral one, and transforms of the denoiser.

A sampler is a frozen dataclass called as `sampler(model, z_1, grid, generator, condition) -> z_0`;
`vlb.models.diffusion.samplers.generate.generate` draws z_1 before it and x after it.
"""
