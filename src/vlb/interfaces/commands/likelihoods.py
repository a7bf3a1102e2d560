"""What `vlb evaluate --likelihood` may state besides a model's own bound, from the names of the command line."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError, suggestion
from vlb.data import Dataset, Split
from vlb.measure.evaluation import Bounded
from vlb.measure.importance import ImportanceWeighted
from vlb.models.diffusion.flow.bound import FlowBound
from vlb.models.diffusion.flow.density import ENDS, Flow
from vlb.models.diffusion.flow.dequantisation import (
    Dequantisation,
    Diffused,
    TruncatedNormalBins,
    UniformBins,
    VariationalBins,
)
from vlb.models.diffusion.flow.divergence import Divergence, ExactDivergence, Hutchinson
from vlb.models.diffusion.flow.integrate import AdaptiveSteps, FixedSteps
from vlb.models.diffusion.grids import GRIDS
from vlb.models.diffusion.model import DiffusionModel, GridDiffusion
from vlb.models.protocols import LikelihoodModel
from vlb.models.vae.model import VariationalHierarchy
from vlb.store.runs import diffusion_model
from vlb.training.batches import batch_indices

LIKELIHOODS = ("bound", "importance", "ode")
DIVERGENCES: dict[str, Divergence] = {"exact": ExactDivergence(), "hutchinson": Hutchinson()}
DEQUANTISATIONS: dict[str, Dequantisation] = {
    "diffused": Diffused(),
    "uniform": UniformBins(),
    "truncated-normal": TruncatedNormalBins(),
}
PLACEMENTS = ("t", "snr")
EXAMPLES, DRAWS, TOLERANCE = 100, 16, 1e-5
SMALL = 32  # up to so many dimensions the divergence is exact unless asked otherwise
FITTING_STEPS, FITTING_BATCH = 300, 64


class Chosen(NamedTuple):
    """A likelihood to evaluate, and what to say about it afterwards, as JSON values."""

    bound: Bounded
    describe: Callable[[], dict[str, Any]]  # what only computing shows is None where all was read from a file


@dataclass(frozen=True)
class Request:
    """The options of `vlb evaluate` that belong to --likelihood; None where one was not given."""

    likelihood: str = "bound"
    examples: int | None = None
    draws: int | None = None
    dequantisation: str | None = None
    divergence: str | None = None
    tolerance: float | None = None

    @property
    def dear(self) -> bool:
        """Whether it costs many network evaluations per example, so that a subset is evaluated."""
        return self.likelihood != "bound"

    @property
    def integrates(self) -> bool:
        """Whether time is the ODE solver's, and --steps its steps."""
        return self.likelihood == "ode"

    def check(self, steps: int | None, kernel: str | None, placement: str | None) -> None:
        """Raises `UserError` for options that are not offered or do not fit together."""
        _offered("--likelihood", self.likelihood, LIKELIHOODS)
        if self.examples is not None and self.examples < 1:
            raise UserError(f"--examples must be at least 1, not {self.examples}")
        if self.draws is not None and self.likelihood != "importance":
            raise UserError("--draws belongs to --likelihood importance")
        if self.draws is not None and self.draws < 1:
            raise UserError(f"--draws must be at least 1, not {self.draws}")
        if not self.integrates:
            if self.dequantisation is not None or self.divergence is not None or self.tolerance is not None:
                raise UserError("--dequantisation, --divergence and --tolerance belong to --likelihood ode")
            return
        if kernel is not None:
            raise UserError("--kernel belongs to discrete time, and the ODE is continuous: leave it out")
        if self.dequantisation is not None:
            _offered("--dequantisation", self.dequantisation, (*DEQUANTISATIONS, "variational"))
        if self.divergence is not None:
            _offered("--divergence", self.divergence, DIVERGENCES)
        if self.tolerance is not None and not 0 < self.tolerance < math.inf:
            raise UserError(f"--tolerance must be positive, not {self.tolerance:g}")
        if steps is not None and self.tolerance is not None:
            raise UserError("--tolerance chooses the solver's steps and --steps fixes them: give one of the two")
        if steps is not None and steps < 1:
            raise UserError(f"--steps must be at least 1, not {steps}")
        if placement is not None and (steps is None or placement not in PLACEMENTS):
            raise UserError("with --likelihood ode, --placement is t or snr and says where fixed --steps are")

    def part(self, split: Split) -> np.ndarray:
        """Which examples to evaluate: all of a split, or a random subset of the same ones each time."""
        return split.subset_index(self.examples or (EXAMPLES if self.dear else len(split)))


def importance(request: Request, target: Bounded) -> Chosen:
    """Importance weighting of a hierarchy. Raises `UserError` for what has no draws to weigh."""
    if isinstance(target, DiffusionModel):
        raise UserError("the trajectories of --likelihood importance belong to discrete time: say in how many --steps")
    if not isinstance(target, GridDiffusion | VariationalHierarchy):
        raise UserError(
            f"--likelihood importance weighs draws of latents, and a {type(target).__name__} has an exact log p(x): "
            "leave it out"
        )
    draws = request.draws or DRAWS
    effective: list[Tensor] = []
    described = {"kind": "importance", "draws": draws}
    if isinstance(target, GridDiffusion):
        decodes = int(target.model.learns_decoder)
        described |= {"steps": target.depth - 1, "evaluations": draws * (target.depth - 1 + decodes)}
    return Chosen(
        ImportanceWeighted(target, draws, effective.append),
        lambda: described | {"effective_draws": float(torch.cat(effective).mean()) if effective else None},
    )


def ode(
    request: Request, model: LikelihoodModel, data: Dataset, conditional: bool, steps: int | None, placement: str | None
) -> Chosen:
    """The PF-ODE's bound. `variational` dequantisation is fitted to training data first."""
    diffusion = diffusion_model(model, "the probability-flow ODE of --likelihood ode")
    small = math.prod(model.shape) <= SMALL
    way = request.divergence or ("exact" if small else "hutchinson")
    tolerance = request.tolerance or TOLERANCE
    if steps is None:
        flow = Flow(diffusion, AdaptiveSteps(tolerance, tolerance), DIVERGENCES[way])
    else:
        grid = GRIDS.kind(placement or "snr", "--placement")()(diffusion.process.schedule, steps)
        flow = Flow(diffusion, FixedSteps(), DIVERGENCES[way], grid)
    name = request.dequantisation or "diffused"
    chosen = fitted(diffusion, data, conditional) if name == "variational" else DEQUANTISATIONS[name]
    evaluations: list[int] = []
    described = {
        "kind": "ode",
        "dequantisation": name,
        "divergence": way,
        "tolerance": tolerance if steps is None else None,
        "steps": steps,
        "placement": None if steps is None else placement or "snr",
    }
    return Chosen(
        FlowBound(flow, chosen, evaluations.append),
        lambda: described | {"evaluations": sum(evaluations) / len(evaluations) if evaluations else None},
    )


def fitted(model: DiffusionModel, data: Dataset, conditional: bool) -> VariationalBins:
    """A variational dequantiser fitted to training data, the same one each time."""
    learned = VariationalBins(data.levels, data.shape).to(model.device)
    batches = [
        data.train.batch(batch_indices(0, step, FITTING_BATCH, len(data.train)), conditional, model.device)
        for step in range(FITTING_STEPS)
    ]
    start = ENDS[:1].to(model.device)
    learned.fit(model, batches, start, torch.Generator().manual_seed(0))
    return learned


def _offered(option: str, name: str, offered: tuple[str, ...] | dict[str, Any]) -> None:
    if name not in offered:
        raise UserError(f"{option} {name!r} is not offered; {suggestion(name, offered)}")
