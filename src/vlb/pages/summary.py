"""What has to be said beside a likelihood, in one place for the command line, its JSON and the report."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlb.data import Dataset, Split
from vlb.data.baselines import baselines, per_example
from vlb.measure.evaluation import Evaluation, folded


@dataclass(frozen=True)
class Discretisation:
    """How a continuous-time model was discretised: T, p(z_s | z_t), how the times were placed, and γ at each."""

    steps: int
    kernel: str
    placement: str
    times: list[float]
    gamma: list[float]


def summarise(
    evaluation: Evaluation,
    data: Dataset,
    split: str,
    examples: Split | None = None,
    discretisation: Discretisation | None = None,
) -> dict[str, Any]:
    """Everything a reader needs to trust the number, as JSON values; likelihoods in bits/dim.

    `examples` are the evaluated ones where they are not all of `split`; the baselines are of the same
    examples as the bound. `discretisation` says how time was discretised, where it was.
    """
    part: dict[str, Any] = {} if examples is None else {split: examples}
    gain = _gain(evaluation, data, data.split(split) if examples is None else examples)
    return {
        "bits_per_dim": evaluation.bits_per_dim,
        "standard_error": evaluation.standard_error,
        "se_data": evaluation.se_data,
        "se_monte_carlo": evaluation.se_monte_carlo,
        "terms": folded(evaluation.terms),
        "kl_per_level": evaluation.kl_per_level,
        "examples": len(evaluation.values),
        "split_examples": len(data.split(split)),
        "dimensions": evaluation.dimensions,
        "levels": data.levels,
        "kind": f"discrete, {data.levels} levels",
        "bound": evaluation.bound.replace("p(x)", "p(x | y)") if evaluation.conditional else evaluation.bound,
        "conditional": evaluation.conditional,
        "passes": evaluation.passes,
        "nats_per_example": float(evaluation.totals.mean()),
        "baselines": baselines(dataclasses.replace(data, **part), split),
        "gain_over_independent_bits_per_dim": gain[0],
        "gain_standard_error_bits_per_dim": gain[1],
        "shape": list(data.shape),
        "split": split,
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "discretisation": None if discretisation is None else dataclasses.asdict(discretisation),
    }


def independent(shape: Sequence[int]) -> str:
    """What the elements of an example are, in the name of the baseline that takes them for independent."""
    return "columns" if len(shape) == 1 else "pixels"


def named(baseline: str, shape: Sequence[int]) -> str:
    """A baseline's key as words."""
    return f"independent {independent(shape)}" if baseline == "independent_pixels" else baseline.replace("_", " ")


def _gain(evaluation: Evaluation, data: Dataset, part: Split) -> tuple[float, float]:
    """By how much the bound is below independent elements, bits/dim, and its standard error: of the differences per
    example, in which most of what examples differ by cancels. NaN of a single one."""
    differences = per_example("independent-pixels", data, part) - evaluation.totals
    n = len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return evaluation.bits(float(differences.mean())), evaluation.bits(error)
