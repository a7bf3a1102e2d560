"""What may be stated besides a model's own bound: importance weighting and the probability-flow ODE."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from vlb.base.errors import UserError, suggestion
from vlb.data import Dataset, Split
from vlb.measure.evaluation import Bounded, Evaluation
from vlb.measure.importance import ImportanceWeighted, Weighted
from vlb.measure.options import EvaluateOptions
from vlb.measure.planning import planning
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
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.protocols import Stepped, offers
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
    """A likelihood to evaluate, and what to say of an evaluation of it, as JSON values."""

    bound: Bounded
    describe: Callable[[Evaluation], dict[str, Any]]


def solver_error(evaluation: Evaluation) -> float | None:
    """Of an evaluation of an ODE's likelihood, bits/dim; None of others."""
    nats = evaluation.observed("error", "examples")
    return None if nats is None else evaluation.bits(nats)


def check_names(options: EvaluateOptions) -> None:
    """Raises `UserError` for a likelihood, or a part of the ODE's, that is not offered."""
    _offered("--likelihood", options.likelihood, LIKELIHOODS)
    if options.dequantisation is not None:
        _offered("--dequantisation", options.dequantisation, (*DEQUANTISATIONS, "variational"))
    if options.divergence is not None:
        _offered("--divergence", options.divergence, DIVERGENCES)
    placed = options.integrates and options.placement is not None
    if placed and (options.steps is None or options.placement not in PLACEMENTS):
        raise UserError("with --likelihood ode, --placement is t or snr and says where fixed --steps are")


def part(options: EvaluateOptions, split: Split) -> np.ndarray:
    """Which examples to evaluate: all of a split, or a random subset of the same ones, or things, each time."""
    return split.subset_of_things(options.examples or (EXAMPLES if options.costly else len(split)))


def importance(options: EvaluateOptions, target: Bounded) -> Chosen:
    """Importance weighting of a hierarchy. Raises `UserError` for what has no draws to weigh."""
    if planning(target) is not None:
        raise UserError("the trajectories of --likelihood importance belong to discrete time: say in how many --steps")
    if not offers(target, Weighted):
        raise UserError(
            f"--likelihood importance weighs draws of latents, and a {type(target).__name__} has an exact log p(x): "
            "leave it out"
        )
    draws = options.draws or DRAWS
    bound, described = ImportanceWeighted(target, draws), {"kind": "importance", "draws": draws}
    if offers(target, Stepped):
        described |= {"steps": target.steps, "evaluations": draws * target.evaluations}

    def describe(found: Evaluation) -> dict[str, Any]:
        return described | {"effective_draws": found.observed("effective", "examples")}

    return Chosen(bound, describe)


def ode(options: EvaluateOptions, model: Bounded, apart: Dataset, conditional: bool) -> Chosen:
    """The PF-ODE's bound. `variational` dequantisation is fitted to training data first."""
    steps, placement = options.steps, options.placement
    diffusion = diffusion_model(model, "the probability-flow ODE of --likelihood ode")
    if not apart.schema.plain:
        what = apart.schema.layout.elements
        raise UserError(f"--likelihood ode is of levels that are all there, and these are {what}: leave it out")
    small = math.prod(model.shape) <= SMALL
    way = options.divergence or ("exact" if small else "hutchinson")
    tolerance = options.tolerance or TOLERANCE
    if steps is None:
        flow = Flow(diffusion, AdaptiveSteps(tolerance), DIVERGENCES[way])
    else:
        grid = GRIDS.kind(placement or "snr", "--placement")()(diffusion.process.schedule, steps)
        flow = Flow(diffusion, FixedSteps(), DIVERGENCES[way], grid)
    name = options.dequantisation or "diffused"
    chosen = fitted(diffusion, apart, conditional) if name == "variational" else DEQUANTISATIONS[name]
    described = {
        "kind": "ode",
        "dequantisation": name,
        "divergence": way,
        "tolerance": tolerance if steps is None else None,
        "steps": steps,
        "placement": None if steps is None else placement or "snr",
    }

    def describe(found: Evaluation) -> dict[str, Any]:
        return described | {"evaluations": found.observed("evaluations", "calls")}

    return Chosen(FlowBound(flow, chosen), describe)


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
