"""`vlb.tightness`: how far the bound of a trained model is from its log p(x), at least."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Table
from vlb.base.words import so_many
from vlb.core.surroundings import ordinary
from vlb.core.terms import key
from vlb.data import Split
from vlb.measure.discretise import discretise, kernel_named
from vlb.measure.evaluation import Bounded, Evaluation, measure_bound
from vlb.measure.likelihoods import solver_error
from vlb.measure.options import TightnessOptions
from vlb.measure.planning import planned, planning
from vlb.measure.tightness.trained import WeighedExamples, WeightedBound, weigh
from vlb.models.diffusion.discrete import WALK
from vlb.models.diffusion.flow.bound import FlowBound
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.flow.divergence import ExactDivergence, Hutchinson
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.protocols import LikelihoodModel, offers, require
from vlb.store.runs import Run

PASSES, SMALL = 4, 32
EFFECTIVE = 2.0  # with fewer effective draws than this, what was found says little of what is left
DEFAULT = TightnessOptions()

LOOSENESS = (
    "looseness found is a lower bound: in expectation at most E KL(q(z|x) ‖ p(z|x)), towards which it grows with "
    "--draws. It says nothing of the misfit, KL(q(x) ‖ p(x)), which needs the entropy of the data"
)
LEVELS = (
    "a rung's cost is not its error: most of it is what noise took from x and any model must pay. Which part is "
    "excess cannot be told without the true q(z_s | z_t)"
)
ANOTHER = "the ODE's likelihood is that of another model with the same network: it neither bounds nor estimates p(x)"


@dataclass(frozen=True)
class TightnessResult(Result):
    """What `vlb.tightness` returns.

    discrete: the bound by rungs; weighed: two bounds by draws of all latents; continuous: a diffusion model's own
    bound; ode: the likelihood of the probability-flow ODE, where it was asked for; split: of split_examples, of which
    some were taken; levels: K of the data, None where they have none, named `data` with a fingerprint; kind: of these
    data, in words.
    """

    discrete: Evaluation
    weighed: WeighedExamples
    continuous: Evaluation | None
    ode: Evaluation | None
    split: str
    split_examples: int
    levels: int | None
    data: str
    fingerprint: str
    kind: str

    @property
    def looseness(self) -> tuple[float, float]:
        """What was found of the looseness, and its standard error, nats per example."""
        return self.weighed.mean(self.weighed.looseness)

    @property
    def effective(self) -> float:
        """The median effective number of draws."""
        return float(sorted(self.weighed.effective)[len(self.weighed.effective) // 2])

    @property
    def importance(self) -> tuple[float, float]:
        """The importance-weighted bound and its standard error, bits/dim."""
        mean, error = self.weighed.mean(self.weighed.importance)
        return self.discrete.bits(mean), self.discrete.bits(error)

    @property
    def solver_bits(self) -> float:
        """The error of the ODE's solver, bits/dim; NaN where there is none."""
        found = None if self.ode is None else solver_error(self.ode)
        return math.nan if found is None else found

    def values(self) -> dict[str, Any]:
        """Everything as JSON values; likelihoods in bits/dim, looseness in nats per example as well."""
        discrete, (nats, error) = self.discrete, self.looseness
        return {
            "examples": len(discrete.values),
            "dimensions": discrete.dimensions,
            "conditional": discrete.conditional,
            "continuous": None if self.continuous is None else _stated(self.continuous),
            "discrete": _stated(discrete) | {"terms": {key(path): value for path, value in discrete.terms.items()}},
            "importance": {
                "bits_per_dim": self.importance[0],
                "standard_error": self.importance[1],
                "draws": self.weighed.draws,
                "median_effective_draws": self.effective,
            },
            "looseness_found": {"nats": nats, "standard_error_nats": error, "bits_per_dim": discrete.bits(nats)},
            "ode": None if self.ode is None else _stated(self.ode) | {"solver_error": self.solver_bits},
            "split": self.split,
            "split_examples": self.split_examples,
            "levels": self.levels,
            "data": {"name": self.data, "fingerprint": self.fingerprint},
        }

    def table(self) -> Table:
        """What was found, in bits/dim, rungs from the data up."""

        def row(evaluation: Evaluation, before: str = "") -> tuple[str, str]:
            words = before + evaluation.bound.given(evaluation.conditional)
            return words, f"{evaluation.bits_per_dim:.4f} ± {evaluation.standard_error:.4f}"

        bounds = [] if self.continuous is None else [row(self.continuous)]
        bounds.append(row(self.discrete))
        bounds += [(f"  {key(path)}", f"{value:.4f}") for path, value in self.discrete.terms.items()]
        mean, error = self.importance
        draws = f"importance-weighted, K = {self.weighed.draws} ({self.effective:.1f} effective)"
        bounds.append((draws, f"{mean:.4f} ± {error:.4f}"))
        nats, nats_error = self.looseness
        found = (f"looseness found: {nats:.2f} ± {nats_error:.2f} nats per example", f"{self.discrete.bits(nats):.4f}")
        other = () if self.ode is None else ((row(self.ode, "another model: "),),)
        return Table(
            title=f"{self.data}, {self.split}: {len(self.discrete.values):,} of "
            f"{so_many(self.split_examples, 'example')} × {so_many(self.discrete.dimensions, 'dimension')}, "
            f"{self.kind}",
            columns=("−log₂ p(x), at most", "bits/dim"),
            sections=(tuple(bounds), (found,), *other),
            notes=self._notes(),
        )

    def _notes(self) -> tuple[str, ...]:
        """What the numbers can and cannot tell."""
        diffusion = self.continuous is not None
        lines = [LOOSENESS, LEVELS] if diffusion else [LOOSENESS]
        if self.effective < EFFECTIVE:
            lines.append(
                "one draw outweighs all others here, so most of the looseness may be left: more --draws help slowly"
                + (", fewer --steps or --kernel mixture help more" if diffusion else "")
            )
        if diffusion:
            lines.append(
                "the looseness is that of the discrete-time model, which is not the continuous one: the difference of "
                "the two bounds is one of two models"
            )
        if self.ode is not None:
            lines.append(f"{ANOTHER}; its solver is within about {self.solver_bits:.2g} bits/dim, which is not in ±")
        return tuple(lines)


@ordinary()
def tightness(
    run: Run | str | Path,
    split: str = "test",
    options: TightnessOptions = DEFAULT,
    *,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> TightnessResult:
    """How loose a run's bound is at least, by K draws of all latents of some examples, with `vlb tightness`'s numbers.

    data: where a run's own data are now, if they have moved. Raises `UserError` for a model whose log p is exact or
    that has none, and for options that do not fit it.
    """
    kernel = kernel_named(options.kernel)
    if not 1 <= options.steps <= WALK:
        raise UserError(f"--steps is from 1 to {WALK}, for all rungs are walked, not {options.steps}")
    progress.begin("opening the run and its data")
    opened = run if isinstance(run, Run) else Run.open(run)
    opened.schema.refuse_pieces("tightness", "train on pictures of one size, without --crop")
    own = opened.data(data)
    whole = own.split(split)
    part = whole.subset(options.examples)
    model = require(opened.model(device), LikelihoodModel, "a bound is of a model with a likelihood")
    if len(part) < 2:
        raise UserError(
            f"the {split} split of {own.name} has {len(part)} example: looseness has no error of a single one"
        )
    conditional = opened.conditional
    diffusion = model if offers(model, DiffusionModel) else None
    if diffusion is None and not offers(model, WeightedBound):
        raise UserError(
            f"{opened.path} holds a {type(model).__name__}, whose log p(x) is exact: there is no bound to be loose"
        )
    if options.ode and diffusion is None:
        raise UserError(f"--ode is of diffusion models, and {opened.path} holds a {type(model).__name__}: leave it out")
    measured = _Measured(part, conditional, options.seed, device, progress)
    continuous, flow, ways = None, None, planning(model)
    if ways is not None:
        continuous = measured(planned(ways, own, split, conditional, opened, progress))
    hierarchy: WeightedBound
    if diffusion is None:
        hierarchy = cast(WeightedBound, model)
    else:
        hierarchy = discretise(diffusion, own.validation, options.steps, kernel, "snr", conditional)
    discrete = measured(hierarchy)
    weighed = weigh(
        hierarchy,
        part,
        draws=options.draws,
        conditional=conditional,
        seed=options.seed,
        device=device,
        progress=progress,
    )
    if options.ode and diffusion is not None:
        divergence = ExactDivergence() if math.prod(model.shape) <= SMALL else Hutchinson()
        flow = measured(FlowBound(Flow(diffusion, divergence=divergence)), 2)
    of = (split, len(whole), own.schema.count, own.name, own.fingerprint, own.schema.kind)
    return TightnessResult(discrete, weighed, continuous, flow, *of)


@dataclass(frozen=True)
class _Measured:
    """Bounds on the same examples with the same seed."""

    part: Split
    conditional: bool
    seed: int
    device: torch.device | str
    progress: Progress

    def __call__(self, bounded: Bounded, passes: int = PASSES) -> Evaluation:
        return measure_bound(
            bounded,
            self.part,
            conditional=self.conditional,
            passes=passes,
            seed=self.seed,
            device=self.device,
            progress=self.progress,
        )


def _stated(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "bits_per_dim": evaluation.bits_per_dim,
        "standard_error": evaluation.standard_error,
        "se_monte_carlo": evaluation.se_monte_carlo,
        "bound": evaluation.bound.given(evaluation.conditional),
    }
