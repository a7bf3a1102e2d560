"""What the numbers of `evaluate`, `compare`, `score` and `tightness` depend on. It needs no torch.

A field is the flag of the command of the same name: its name, type, default and entry below are the flag's.
"""

from dataclasses import dataclass
from typing import Annotated

from vlb.base.domains import Count, Positive, Seed, Steps, Within
from vlb.base.errors import UserError
from vlb.base.options import Names, Options

Several = Annotated[int, Within(2, 10**9)]  # of which a spread is known


@dataclass(frozen=True)
class EvaluateOptions(Options):
    """How to evaluate. Raises `UserError` for options out of range, and for those that do not fit together.

    Parameters
    ----------
    passes
        Independent draws of noise level and noise per example, at least 2; by default 3 of a diffusion model
        in continuous time, 8 of others, 4 with another --likelihood.
    precision
        Go on until the Monte Carlo error is at most so many bits/dim.
    budget
        Give up on --precision after so many passes, by default 16 times the least; what was computed is kept.
    seed
        Seed of the draws.
    steps
        State the bound of the discrete-time model with so many steps, not the continuous-time one.
    kernel
        What one step down is, with --steps: standard (one Gaussian with the posterior's variance), moment
        (one Gaussian with the head's variance added) or mixture (over the head's levels, the tightest).
    placement
        Where the rungs lie, with --steps: t (even in t), snr (even in log SNR) or dp (the best, both ends
        free, by costs measured on validation data).
    likelihood
        bound, importance (the importance-weighted bound from --draws of the latents, for a diffusion model whole
        trajectories of --steps) or ode (a bound on the likelihood of the probability-flow ODE, which is another
        model with the same network; --steps then are those of a fixed-step solver, and --placement t or snr).
    examples
        Evaluate so many random examples of the split; by default all, or 100 with another --likelihood.
    draws
        How many draws are weighted, with --likelihood importance; 16 by default.
    dequantisation
        How discrete data meet the density, with --likelihood ode: diffused (the process's own noise and the model's
        decoder, the default), uniform, truncated-normal or variational (fitted to training data).
    divergence
        exact or hutchinson (in expectation), with --likelihood ode; by default exact for up to 32 dimensions.
    tolerance
        Of the adaptive solver, with --likelihood ode: what a step may cost of log p, nats per dimension; by default
        1e-5.
    given
        Columns of a table: state log p of the other columns given these, as far as they are there. For models of
        tables with gaps.
    """

    passes: Several | None = None
    precision: Positive | None = None
    budget: Count | None = None
    seed: Seed = 0
    steps: Steps | None = None
    kernel: str | None = None
    placement: str | None = None
    likelihood: str = "bound"
    examples: Count | None = None
    draws: Count | None = None
    dequantisation: str | None = None
    divergence: str | None = None
    tolerance: Annotated[float, Within(1e-14, 1)] | None = None
    given: Names = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_effort()
        if self.draws is not None and self.likelihood != "importance":
            raise UserError("--draws belongs to --likelihood importance")
        if self.integrates:
            self._check_ode()
            return
        if self.dequantisation is not None or self.divergence is not None or self.tolerance is not None:
            raise UserError("--dequantisation, --divergence and --tolerance belong to --likelihood ode")
        if self.steps is None and (self.kernel is not None or self.placement is not None):
            raise UserError("--kernel and --placement belong to discrete time: say in how many --steps")

    def _check_effort(self) -> None:
        if self.budget is not None and self.precision is None:
            raise UserError("--budget belongs to --precision: it says after how many passes to give up")
        if self.budget is not None and self.budget < (self.passes or 2):
            raise UserError(f"--budget must be at least the {self.passes or 2} passes made anyway, not {self.budget}")

    def _check_ode(self) -> None:
        if self.kernel is not None:
            raise UserError("--kernel belongs to discrete time, and the ODE is continuous: leave it out")
        if self.steps is not None and self.tolerance is not None:
            raise UserError("--tolerance chooses the solver's steps and --steps fixes them: give one of the two")

    @property
    def costly(self) -> bool:
        """Whether it costs many network evaluations per example, so that a subset is evaluated."""
        return self.likelihood != "bound"

    @property
    def integrates(self) -> bool:
        """Whether time is the ODE solver's, and --steps its steps."""
        return self.likelihood == "ode"


@dataclass(frozen=True)
class CompareOptions(Options):
    """How to compare. Raises `UserError` for options out of range.

    Parameters
    ----------
    examples
        Compare on so many random examples of the split; by default all.
    passes
        Independent draws per example for each run, of four noise levels each for diffusion models.
    seed
        Seed of the draws.
    """

    examples: Several | None = None
    passes: Several = 4
    seed: Seed = 0


@dataclass(frozen=True)
class ScoreOptions(Options):
    """How to score. Raises `UserError` for options out of range.

    Parameters
    ----------
    passes
        Independent randomisations, at least 2: the error of each example is from their spread, so a few do not do. An
        exact log p needs none.
    draws
        Noise levels per example and pass, one in each of so many strata, for diffusion models.
    typicality
        Add how far an example's −log p is from its mean on training data: a sign of other data.
    background
        Add −log p under another model, and the likelihood ratio: a run, independent-pixels, uniform, or lzma.
    seed
        Seed of the draws.
    given
        Columns of a table: state log p of the other columns given these, as far as they are there. For models of
        tables with gaps.
    """

    passes: Several = 16
    draws: Count = 8
    typicality: bool = False
    background: str | None = None
    seed: Seed = 0
    given: Names = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.given and self.background == "lzma":
            raise UserError("--background lzma compresses whole examples, and --given leaves some columns out")


@dataclass(frozen=True)
class TightnessOptions(Options):
    """How to look for looseness. Raises `UserError` for options out of range.

    Parameters
    ----------
    examples
        How many random examples of the split.
    steps
        T of the discrete-time model whose trajectories are weighed, even in log SNR; VAEs have their own rungs.
    kernel
        What one of these steps is: standard, moment or mixture, as in `vlb evaluate`.
    draws
        How many draws of all latents are weighed per example.
    ode
        State the likelihood of the probability-flow ODE, too: another model with the same network. It is costly.
    seed
        Seed of the draws.
    """

    examples: Several = 100
    steps: Steps = 32
    kernel: str = "standard"
    draws: Several = 16
    ode: bool = False
    seed: Seed = 0
