"""Samplers beyond the ancestral one, and transforms of the denoiser.

A sampler is a frozen dataclass called as `sampler(model, z_1, grid, generator, condition) -> z_0`;
`vlb.models.diffusion.samplers.generate.generate` draws z_1 before it and x after it.
Those that the command line offers are in `SAMPLERS` under their tags; each module says which of its own are.
"""

from vlb.base.configuration import Family
from vlb.models.diffusion.samplers import ancestral, ddim, dpm_solver, heun, ode

SAMPLERS = Family("sampler", ancestral.OFFERED | ddim.OFFERED | heun.OFFERED | dpm_solver.OFFERED | ode.OFFERED)
