"""A likelihood with all that has to be said beside it, in one place for the terminal, JSON, notebooks and reports."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlb.base.results import Result, Strong, Table
from vlb.base.words import so_many
from vlb.core.terms import BoundKind, TermPath, key
from vlb.data import Dataset, Split
from vlb.data.baselines import baselines, per_example
from vlb.measure.discretise import Discretisation
from vlb.measure.evaluation import FREEDOM, Evaluation, folded, passes_needed

PLAIN: Mapping[str, Any] = {"kind": "bound"}


@dataclass(frozen=True)
class EvaluationResult(Result):
    """What `vlb.evaluate` returns: a likelihood, bits/dim unless it says nats, and what is needed to trust it.

    evaluation: the values per example; bound: what they are; data, fingerprint: name of the data and which they are;
    split: the part, of split_examples in all; levels: K of discrete data, else None; kind: of the data, elements:
    what an example is made of, in words;
    baselines: bits/dim of the same examples by plain codes; gain, gain_error: by how much the bound is below
    independent elements, from differences per example; discretisation: of time, if it was discretised; kept: the file
    of the values; estimator, likelihood: how it was come by, as JSON values; solver_error: bits/dim, of an ODE's
    solver: no standard error, for it does not average out; precision: bits/dim that were asked for; left_out: which
    rows of a file are not among the examples, in words, empty where all are; log_orders: of sets, whose order means
    nothing, the log of how many orders there are, nats and in the mean, by which −log p of a set is less than that
    of one order.
    """

    evaluation: Evaluation
    bound: BoundKind
    data: str
    fingerprint: str
    split: str
    split_examples: int
    levels: int | None
    kind: str
    shape: tuple[int, ...]
    elements: str
    baselines: Mapping[str, float]
    gain: float
    gain_error: float
    discretisation: Discretisation | None = None
    kept: Path | None = None
    estimator: Mapping[str, Any] | None = None
    likelihood: Mapping[str, Any] = field(default_factory=lambda: PLAIN)
    solver_error: float | None = None
    precision: float | None = None
    left_out: str = ""
    log_orders: float = 0.0

    @property
    def bits_per_dim(self) -> float:
        """The bound."""
        return self.evaluation.bits_per_dim

    @property
    def standard_error(self) -> float:
        """Both errors together."""
        return self.evaluation.standard_error

    @property
    def se_data(self) -> float:
        """Over another sample of examples."""
        return self.evaluation.se_data

    @property
    def se_monte_carlo(self) -> float:
        """Over other draws on these examples."""
        return self.evaluation.se_monte_carlo

    @property
    def exact(self) -> bool:
        """Whether it is −log p(x) itself and not a bound."""
        return self.bound.exact

    @property
    def terms(self) -> dict[TermPath, float]:
        """The mean of each term, a diffusion model's steps as one."""
        return folded(self.evaluation.terms)

    @property
    def examples(self) -> int:
        """How many examples were evaluated."""
        return len(self.evaluation.values)

    @property
    def things(self) -> int:
        """How many examples were evaluated, or things that these are pieces of."""
        return self.evaluation.things

    @property
    def dimensions(self) -> float:
        """Of one example, of pieces in the mean."""
        return self.evaluation.dimensions

    @property
    def passes(self) -> int:
        """How often each example was seen."""
        return self.evaluation.passes

    @property
    def conditional(self) -> bool:
        """Whether it is of p(x | y)."""
        return self.evaluation.conditional

    @property
    def nats_per_example(self) -> float:
        """The bound, nats per example."""
        return float(self.evaluation.totals.mean())

    @property
    def nats_per_set(self) -> float | None:
        """The bound on −log p of a set, its order forgotten, nats per example: n! tuples are one set, and a model that
        does not know their order finds them alike. None where the order is part of the example."""
        return self.nats_per_example - self.log_orders if self.log_orders else None

    @property
    def nats_error(self) -> float:
        """Its standard error, nats per example."""
        return self.dimensions * math.log(2) * self.standard_error

    @property
    def words(self) -> str:
        """What the number is, in words."""
        return self.bound.given(self.conditional)

    @property
    def shortfall(self) -> str | None:
        """What is missing to the precision asked for, and the mend; None where nothing is."""
        reached, evaluation = self.se_monte_carlo, self.evaluation
        if self.precision is None or (reached <= self.precision and evaluation.freedom >= FREEDOM):
            return None
        needed = passes_needed(evaluation, self.precision)
        return (
            f"a precision of {self.precision:g} bits/dim was not reached: after {self.passes} passes, the budget, the "
            f"Monte Carlo error is {reached:.2g} bits/dim, known from {evaluation.freedom} degrees of freedom. It "
            f"needs about {needed} passes: try --budget {math.ceil(1.2 * needed)}"
            + (f"; what was computed is kept in {self.kept} and is gone on with" if self.kept else "")
        )

    def values(self) -> dict[str, Any]:
        """Everything a reader needs to trust the number, as JSON values; likelihoods in bits/dim."""
        discretisation = self.discretisation
        return {
            "bits_per_dim": self.bits_per_dim,
            "standard_error": self.standard_error,
            "se_data": self.se_data,
            "se_monte_carlo": self.se_monte_carlo,
            "solver_error": self.solver_error,
            "terms": {key(path): value for path, value in self.terms.items()},
            "kl_per_rung": self.evaluation.kl_per_rung,
            "examples": self.examples,
            "things": self.things,
            "split_examples": self.split_examples,
            "dimensions": self.dimensions,
            "levels": self.levels,
            "kind": self.kind,
            "bound": self.words,
            "conditional": self.conditional,
            "passes": self.passes,
            "nats_per_example": self.nats_per_example,
            "nats_per_set": self.nats_per_set,
            "baselines": dict(self.baselines),
            "gain_over_independent_bits_per_dim": self.gain,
            "gain_standard_error_bits_per_dim": self.gain_error,
            "shape": list(self.shape),
            "split": self.split,
            "data": {"name": self.data, "fingerprint": self.fingerprint},
            "discretisation": None if discretisation is None else dataclasses.asdict(discretisation),
            "values": None if self.kept is None else str(self.kept),
            "estimator": None if self.estimator is None else dict(self.estimator),
            "likelihood": dict(self.likelihood),
            "left_out": self.left_out,
        }

    def table(self) -> Table:
        """The bound, its terms and the baselines, in bits/dim."""
        few, all_ = self.examples, self.split_examples
        shown = so_many(all_, "example") if few >= all_ else f"{few:,} of {so_many(all_, 'example')}"
        of = f"{shown} × {so_many(self.dimensions, 'dimension')}"
        if self.evaluation.pieces is not None:
            tiles = so_many(all_, "tile") if few >= all_ else f"{few:,} of {so_many(all_, 'tile')}"
            what = f"{self.things} in {tiles}" if self.evaluation.cut else shown
            of = f"{what}, {int(self.evaluation.pieces.sizes.sum()):,} dimensions"
        what = "exact" if self.exact else "bound"
        found: list[tuple[str, str]] = [(what, Strong(f"{self.bits_per_dim:.4f} ± {self.standard_error:.4f}"))]
        if len(self.terms) > 1:
            found += [(f"  {key(path)}", f"{value:.4f}") for path, value in self.terms.items()]
        found.append(("  in nats per example", f"{self.nats_per_example:.2f} ± {self.nats_error:.2f}"))
        if self.nats_per_set is not None:
            found.append(("  as a set, its order forgotten", f"{self.evaluation.bits(self.nats_per_set):.4f}"))
            found.append(("  as a set, in nats per example", f"{self.nats_per_set:.2f} ± {self.nats_error:.2f}"))
        data = f"{self.se_data:.4f}" if self.things > 1 else "unknown of one example"
        solver = "" if self.solver_error is None else f"; solver: within about {self.solver_error:.2g}, not in ±"
        plain = tuple((named(name, self.elements), f"{value:.4f}") for name, value in self.baselines.items())
        return Table(
            title=f"{self.data}, {self.split}: {of}, {self.kind}",
            columns=("", "bits/dim"),
            sections=(tuple(found), plain),
            caption=f"{self.words}; ± standard error (data {data}, Monte Carlo {self.se_monte_carlo:.4f}, "
            f"{self.passes} passes){solver}",
            notes=(self.left_out,) if self.left_out else (),
        )


def summarise(evaluation: Evaluation, data: Dataset, split: str, examples: Split | None = None) -> EvaluationResult:
    """An evaluation beside its baselines, which are of the same examples: those of `split`, or `examples` of them."""
    part: dict[str, Any] = {} if examples is None else {split: examples}
    own = data.split(split) if examples is None else examples
    orders = data.schema.layout.log_orders(own.sizes)
    gain, error = _gain(evaluation, data, own)
    return EvaluationResult(
        evaluation,
        evaluation.bound,
        data.name,
        data.fingerprint,
        split,
        len(data.split(split)),
        data.schema.count,
        data.schema.kind,
        data.shape,
        data.schema.layout.elements,
        baselines(dataclasses.replace(data, **part), split),
        gain,
        error,
        log_orders=0.0 if orders is None else float(orders.mean()),
    )


def named(baseline: str, elements: str) -> str:
    """A baseline's key as words."""
    return f"independent {elements}" if baseline == "independent_pixels" else baseline.replace("_", " ")


def _gain(evaluation: Evaluation, data: Dataset, part: Split) -> tuple[float, float]:
    """By how much the bound is below independent elements, bits/dim, and its standard error: of the differences per
    example, in which most of what examples differ by cancels. NaN of a single one."""
    differences = per_example("independent-pixels", data, part) - evaluation.totals
    if evaluation.pieces is not None:
        spread = evaluation.pieces.error(differences) / math.log(2)
        return evaluation.bits(float(differences.mean())), spread
    n = len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return evaluation.bits(float(differences.mean())), evaluation.bits(error)
