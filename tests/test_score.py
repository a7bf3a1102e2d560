"""Scores of single examples: errors that cover, equal examples, one example."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import vlb
from tests.commands.test_cli import TINY
from tests.commands.test_cli import vlb as command
from tests.oracles import LIMIT, seeded
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import CategoricalPosterior, Centres
from vlb.data import Split
from vlb.data.given import Given
from vlb.measure.evaluation import Evaluation, measure_bound
from vlb.measure.options import ScoreOptions
from vlb.measure.score import ERROR, ScoreResult, distinct, student
from vlb.models.diffusion.denoiser import PosteriorDenoiser
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.stratified import StratifiedBound, fit

DIMENSIONS, LEVELS, TEMPLATES, EXAMPLES = 6, 4, 3, 400


class Templates(nn.Module):
    """The exact backbone of a mixture of products of categoricals: log p(x_d | z of the others), given that a posterior
    head adds the uniform prior and the likelihood of z_d."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        masses = (2 * torch.randn(TEMPLATES, DIMENSIONS, LEVELS, generator=generator, dtype=torch.float64)).log_softmax(
            -1
        )
        self.log_masses = nn.Parameter(masses, requires_grad=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), (batch,)."""
        each = self.log_masses[:, torch.arange(DIMENSIONS), x].sum(-1)
        return each.logsumexp(0) - math.log(TEMPLATES)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D)."""
        chosen = self.log_masses[torch.randint(TEMPLATES, (n,), generator=generator)]
        return torch.multinomial(chosen.flatten(0, 1).exp(), 1, generator=generator).view(n, DIMENSIONS)

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        alpha, sigma = torch.sigmoid(-gamma).sqrt().unsqueeze(-1), torch.sigmoid(gamma).sqrt().unsqueeze(-1)
        likelihood = -0.5 * ((z.unsqueeze(-1) - alpha * Centres(LEVELS).values(z)) / sigma) ** 2
        each = (self.log_masses + likelihood.unsqueeze(1)).logsumexp(-1)  # (batch, M, D)
        others = each.sum(-1, keepdim=True) - each
        return (self.log_masses + others.unsqueeze(-1)).logsumexp(1)


def exact() -> tuple[DiffusionModel, Templates]:
    """A model whose continuous-time bound is log p(x) of every x, in float64."""
    templates = Templates(seeded(0))
    head = CategoricalPosterior(torch.zeros(DIMENSIONS, LEVELS))
    denoiser = PosteriorDenoiser(templates, head, VP()).double()
    return DiffusionModel(
        GaussianDiffusion(LogSNRLinear(-5.0, 16.0)), denoiser, Centres(LEVELS), (DIMENSIONS,)
    ), templates


def scored(passes: int, draws: int, seed: int) -> tuple[Evaluation, np.ndarray]:
    """Bounds on draws of the model, and −log p of them, (examples,) nats."""
    model, templates = exact()
    x = templates.sample(EXAMPLES + 100, seeded(1))
    plan = fit(model, x[EXAMPLES:], UNCONDITIONAL, seeded(2), draws)
    split = Split(x[:EXAMPLES].numpy().astype(np.uint8))
    found = measure_bound(StratifiedBound(model, plan), split, passes=passes, seed=seed)
    return found, -templates.log_prob(x[:EXAMPLES]).numpy()


@pytest.mark.parametrize("passes, draws", [(16, 8), (4, 8), (16, 1), (2, 2)])
def test_errors_of_examples_cover_at_their_level(passes: int, draws: int) -> None:
    """1.96 of them 95 %, but for a part that few draws of heavy tails may miss; one of them 68 % or more."""
    found, exactly = scored(passes, draws, seed=3)
    errors = student(passes) * np.sqrt(found.monte_carlo_variance)
    away = np.abs(found.totals - exactly) / errors
    # Binomial, of 400: five standard deviations, false alarms below 1e-6.
    for reach, level in ((1.96, 0.95), (1.0, 0.65)):
        assert (away < reach).mean() > level - LIMIT * math.sqrt(level * (1 - level) / EXAMPLES)
    # And no more than they have to: the mean square is about one where the spread is known from many passes.
    assert passes < 16 or 0.5 < np.mean(away**2) < 1.5
    assert abs((found.totals - exactly).mean()) < LIMIT * math.sqrt((errors**2).mean() / EXAMPLES)


def test_a_factor_for_few_passes() -> None:
    """Of Student's t, 12.7 instead of 1.96 for two."""
    assert student(2) == pytest.approx(12.706 / 1.96, rel=1e-3) and student(10_000) == pytest.approx(1, rel=1e-3)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=30), st.booleans()
)
def test_equal_examples_are_one(rows: list[tuple[int, int, int]], conditional: bool) -> None:
    x, labels = np.array([row[:2] for row in rows], np.uint8), np.array([row[2] for row in rows], np.int64)
    first, which = distinct(Split(x, labels), conditional)
    used = [row if conditional else row[:2] for row in rows]
    assert [used[place] for place in first[which]] == used
    assert len(first) == len(set(used)) and list(first) == sorted(first)


@settings(derandomize=True, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e3), st.integers(2, 9))
def test_more_passes_are_advised_where_they_would_tell_examples_apart(centre: float, error: float, n: int) -> None:
    """Not where log p of all is one number but for its rounding, however large the error."""
    for apart, advised in ((0.0, False), (1e-12 * abs(centre), False), (max(error, 1e-3 * abs(centre)), True)):
        nats = centre + apart * np.arange(n) / n
        errors = np.full(n, error if not advised else 10 * apart)
        columns = {"nats": nats, "bits_per_dim": nats, ERROR: errors}
        of = Given(Split(np.zeros((n, 1), np.uint8)), ())
        words = ScoreResult(columns, of, {"kind": "discrete", "nats": "a bound"}).words
        assert ("more --passes" in words) == advised, words


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert command("train", "digits", "--out", path, *TINY) == 0
    return path


def test_equal_digits_get_one_number_and_a_single_one_an_error(run: Path, tmp_path: Path) -> None:
    digits = np.random.default_rng(0).integers(0, 17, (2, 1, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "six.npy", digits[[0, 1, 0, 0, 1, 0]])
    np.save(tmp_path / "one.npy", digits[:1])
    six = vlb.score(run, tmp_path / "six.npy", ScoreOptions(draws=1))
    assert six.columns["nats"].tolist() == six.columns["nats"][[0, 1, 0, 0, 1, 0]].tolist()
    assert six.columns[ERROR][0] == six.columns[ERROR][2] > 0
    one = vlb.score(run, tmp_path / "one.npy", ScoreOptions(draws=1))
    bound = vlb.evaluate(run, tmp_path / "one.npy")
    assert not any("nan" in text for text in (one.words, str(one), str(bound)))
    assert bound.standard_error == bound.se_monte_carlo > 0
    assert math.isnan(bound.se_data)
