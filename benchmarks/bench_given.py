"""Some columns given others, by a diffusion model: its methods beside the exact conditional of a Gaussian mixture.

Rows of five reals from three correlated Gaussians, of which the last two are to be filled in, given the first three.
Two models: that of the mixture itself, whose head says the exact law of each element given all of z_t, and a network
trained by `vlb.DiffusionDensity` on 4,000 rows. Of each method, over 60 rows: how far its means are from the exact ones
(root of the mean square, in standard deviations of the exact conditional), by how much the energy score of its draws of
both cells together is above that of 512 draws of the exact conditional (in those units, an error over rows), and the
effective number of descents, the median over rows.

It writes benchmarks/results/given.json and the table of docs/impute.md: python benchmarks/bench_given.py
"""

import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vlb.core.condition import Condition, Role
from vlb.core.draws import RowDraws
from vlb.core.emissions import Continuous
from vlb.estimators import DiffusionDensity
from vlb.models.diffusion.filter import Filter, Filtered, Replacing, Twisting, effective
from vlb.models.diffusion.methods import Told
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VARIANCE_PRESERVING, GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.mixture.gaussian import GaussianMixture, MarginalDenoiser, gaussian_mixture

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results" / "given.json", HERE.parent / "docs" / "impute.md"
MARKERS = ("<!-- made by benchmarks/bench_given.py -->", "<!-- made until there -->")
ROWS, TEST, STEPS, KNOWN, COLUMNS = 4000, 60, 50, 3, 5
HIDDEN = slice(KNOWN, COLUMNS)


def law_of_data() -> GaussianMixture:
    """Three Gaussians of rank two and some noise."""
    generator = torch.Generator().manual_seed(4)
    loadings = torch.randn(3, COLUMNS, 2, generator=generator, dtype=torch.float64)
    means = 1.2 * torch.randn(3, COLUMNS, generator=generator, dtype=torch.float64)
    covariances = loadings @ loadings.mT + 0.1 * torch.eye(COLUMNS, dtype=torch.float64)
    return gaussian_mixture(torch.tensor([0.5, 0.3, 0.2]).double(), means, covariances)


def given(law: GaussianMixture, x: Tensor) -> GaussianMixture:
    """The law of the hidden columns given the known ones, a mixture for each row x (n, D)."""
    covariances = torch.einsum("jik,jk,jlk->jil", law.basis, law.variances[0], law.basis)
    own, across, rest = (covariances[:, a, b] for a, b in ((slice(KNOWN),) * 2, (HIDDEN, slice(KNOWN)), (HIDDEN,) * 2))
    gain = across @ own.inverse()
    error = x[:, None, :KNOWN] - law.means[:, :, :KNOWN]
    seen = torch.distributions.MultivariateNormal(torch.zeros(KNOWN).double(), own).log_prob(error)
    means = law.means[:, :, HIDDEN] + torch.einsum("jdk,njk->njd", gain, error)
    values, basis = torch.linalg.eigh(rest - gain @ across.mT)
    return GaussianMixture((law.log_weights + seen).log_softmax(1), means, values.unsqueeze(0), basis)


class Score(NamedTuple):
    """Of one method."""

    model: str
    method: str
    descents: int
    off: float
    energy: float
    energy_error: float
    effective: float
    seconds: float


def scored(model: str, method: str, run: Callable[[], Filtered], x: Tensor, exact: GaussianMixture) -> Score:
    """How far a method is from the exact conditional."""
    start = time.process_time()
    end = run()
    seconds = time.process_time() - start
    n, descents = end.log_weights.shape
    weights = end.log_weights.softmax(1)
    draws = end.law.sample(torch.Generator().manual_seed(0))[:, HIDDEN].double().view(n, descents, -1)
    deviation = exact.covariance().diagonal(dim1=1, dim2=2).sqrt()
    mean = (weights.unsqueeze(-1) * draws).sum(1)
    off = float(((mean - exact.mean()) / deviation).square().mean().sqrt())
    right = torch.stack([exact.sample(torch.Generator().manual_seed(seed)) for seed in range(512)], 1)
    x, scale = x[:, HIDDEN], deviation.unsqueeze(1)
    more = energy(draws / scale, weights, x / deviation) - energy(
        right / scale, torch.full(right.shape[:2], 1 / 512).double(), x / deviation
    )
    found = Score(
        model, method, descents, off, float(more.mean()), float(more.std()) / math.sqrt(n),
        float(end.effective.median()), seconds / n,
    )  # fmt: skip
    print(found, flush=True)
    return found


def energy(draws: Tensor, weights: Tensor, x: Tensor) -> Tensor:
    """E‖X − x‖ − ½ E‖X − X′‖ of weighted draws (n, S, d): (n,)."""
    far = (weights * (draws - x.unsqueeze(1)).norm(dim=-1)).sum(1)
    return far - 0.5 * torch.einsum("ni,nj,nij->n", weights, weights, torch.cdist(draws, draws))


def even(end: Filtered) -> Filtered:
    """The same descents without their weights."""
    nothing = torch.zeros_like(end.log_weights)
    return Filtered(end.law, nothing, effective(nothing))


def main() -> None:
    law, generator = law_of_data(), torch.Generator().manual_seed(0)
    rows = law.expand(ROWS + TEST).sample(generator)
    train, x = rows[:ROWS], rows[ROWS:]
    exact, known = given(law, x), torch.zeros(TEST, COLUMNS).bool()
    known[:, :KNOWN] = True
    role = torch.where(known, Role.KNOWN, Role.MODELLED).to(torch.uint8)
    shown = Condition(role=role, values=torch.where(known, x, 0.0))
    process = GaussianDiffusion(LogSNRLinear(-8.0, 8.0))
    oracle = DiffusionModel(process, MarginalDenoiser(law, VARIANCE_PRESERVING), Continuous(), (COLUMNS,))
    trained = DiffusionDensity(width=128, steps=1500, draws=8, random_state=0).fit(train.numpy()).model_
    found = []
    for name, model in (("exact", oracle), ("trained", trained)):

        def filtered(kind: type[Filter], paths: int, particles: int, model: DiffusionModel = model) -> Filtered:
            own = RowDraws(torch.where(known, x, 0.0), shown, 0)
            return kind(model, shown, STEPS, paths, particles, own).run()

        def told(model: DiffusionModel = model) -> Filtered:
            ends = Told(particles=64, steps=STEPS).ends(model, shown, 0)
            return Filtered(ends.law, ends.log_weights, ends.least)

        if name == "trained":
            found.append(scored(name, "`conditional`", told, x, exact))
        found.append(scored(name, "replacement, unweighted", lambda: even(filtered(Replacing, 64, 1)), x, exact))
        for particles in (16, 64):
            found.append(scored(name, "`smc`", partial(filtered, Replacing, 4, particles), x, exact))
        for particles in (16, 64):
            found.append(scored(name, "`twisted`", partial(filtered, Twisting, 1, particles), x, exact))
    RESULTS.write_text(json.dumps([score._asdict() for score in found], indent=1) + "\n", "utf-8")
    written(found)


def written(found: list[Score]) -> None:
    """The table, in the page."""
    head = ("model", "method", "descents", "means off by", "energy score above", "effective", "seconds a row")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += [
        f"| {s.model} | {s.method} | {s.descents} | {s.off:.3f} | {s.energy:.3f} ± {s.energy_error:.3f} "
        f"| {s.effective:.0f} | {s.seconds:.2f} |"
        for s in found
    ]
    page = PAGE.read_text("utf-8")
    before, rest = page.split(MARKERS[0])
    _, after = rest.split(MARKERS[1])
    PAGE.write_text(before + "\n".join((MARKERS[0], "", *lines, "", MARKERS[1])) + after, "utf-8")


if __name__ == "__main__":
    main()
