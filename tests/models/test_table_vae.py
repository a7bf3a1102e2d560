"""VAEs over rows with gaps against factor analysers, whose marginals and conditionals are exact."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.building import built
from vlb.base.errors import UserError
from vlb.core.condition import Condition, Role
from vlb.core.emissions import TableEmission
from vlb.core.emissions.offered import CategoricalOutput
from vlb.core.emissions.table import NARROWEST
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Levels, Real, Schema, levels_schema
from vlb.data import Dataset
from vlb.data.dataset import Split
from vlb.measure.importance import importance_bound
from vlb.models.factor.components import Components
from vlb.models.factor.config import FactorAnalysers
from vlb.models.factor.model import FactorMixture
from vlb.models.vae import rows as module
from vlb.models.vae.config import HVAE, VAE
from vlb.models.vae.generative import MarkovGenerator
from vlb.models.vae.loss import MOST, ElboLoss, with_known
from vlb.models.vae.merge import Direct
from vlb.models.vae.prior import Vamp
from vlb.models.vae.rows import TableVAE
from vlb.nn.coder import Dense, DenseCoder, Single

DEVIATIONS = 5.5  # standard errors: a false alarm in fewer than 1e-7 of seeds
KINDS = (Real(), Real(resolution=0.5), Levels(4), Categories(("a", "b", "c")))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def schema_of(*kinds: object) -> Schema:
    columns = tuple(Column(f"c{place}", kind) for place, kind in enumerate(kinds))  # type: ignore[arg-type]
    return Schema(layout=Vector((len(kinds),)), kinds=columns, gaps=True)


class Linear(nn.Module):
    """A decoder of reals: N(weights·z + offset, variances)."""

    def __init__(self, weights: Tensor, offset: Tensor, variances: Tensor) -> None:
        super().__init__()
        self.weights, self.offset = nn.Parameter(weights), nn.Parameter(offset)
        self.log_stds = nn.Parameter(0.5 * (variances - NARROWEST**2).log())

    @property
    def variances(self) -> Tensor:
        return (2 * self.log_stds).exp() + NARROWEST**2

    def forward(self, z: Tensor) -> Tensor:
        mean = z @ self.weights.T + self.offset
        return torch.stack((torch.zeros_like(mean), mean, self.log_stds.expand_as(mean)), -1).flatten(1)


class Posterior(nn.Module):
    """An encoder that knows p(z | x_o) of a `Linear` decoder: its means and variances, exact for one latent."""

    def __init__(self, decoder: Linear, stretch: float) -> None:
        super().__init__()
        self.decoder, self.stretch = (decoder,), stretch

    def forward(self, seen: Tensor) -> Tensor:
        (decoder,) = self.decoder
        y, there = seen.chunk(2, 1)
        scaled = there.unsqueeze(-1) * decoder.weights / decoder.variances.unsqueeze(-1)
        precision = torch.eye(decoder.weights.shape[1], dtype=seen.dtype) + scaled.mT @ decoder.weights
        covariance = torch.linalg.inv(precision)
        mean = (covariance @ (scaled.mT @ (y - decoder.offset).unsqueeze(-1))).squeeze(-1)
        variance = self.stretch * covariance.diagonal(dim1=1, dim2=2)
        return torch.cat((mean, 8 * torch.atanh(variance.log() / 8)), 1)


def linear(latents: int, columns: int = 5, stretch: float = 1.0, seed: int = 0) -> tuple[TableVAE, FactorMixture]:
    """A linear-Gaussian VAE, whose encoder has the exact means, and the factor analyser that it is."""
    generator, schema = seeded(seed), schema_of(*[Real()] * columns)
    weights = torch.randn(columns, latents, generator=generator, dtype=torch.float64)
    offset = torch.randn(columns, generator=generator, dtype=torch.float64)
    variances = 0.2 + torch.rand(columns, generator=generator, dtype=torch.float64)
    decoder = Linear(weights, offset, variances)
    markov = MarkovGenerator([(latents,)], [], decoder, TableEmission(schema, 1)).double()
    model = TableVAE(markov, Single(Posterior(decoder, stretch)), [Direct(nn.Identity())], (columns,))
    return model.eval().requires_grad_(False), analyser(decoder, schema)


@torch.no_grad()
def analyser(decoder: Linear, schema: Schema) -> FactorMixture:
    exact = FactorAnalysers().build(schema)
    exact.components = Components(
        log_weights=torch.zeros(1, dtype=torch.float64),
        means=decoder.offset.double().unsqueeze(0),
        loadings=decoder.weights.double().unsqueeze(0),
        variances=decoder.variances.double().unsqueeze(0),
        log_tables=torch.zeros(1, 0, dtype=torch.float64),
    )
    return exact


def roles(n: int, columns: int, seed: int, most: int = 3) -> Tensor:
    return torch.randint(0, most, (n, columns), generator=seeded(seed)).to(torch.uint8)


def only(role: Tensor) -> Condition:
    """Modelled or absent."""
    return Condition(role=torch.where(role == Role.MODELLED, role, int(Role.ABSENT)).to(torch.uint8))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_with_the_posterior_every_weight_is_log_p_of_some_cells_given_others(most: int) -> None:
    """most 1: of complete rows; 2: of all cells that are not known, given those that are; 3: some are absent, too."""
    model, exact = linear(1)
    x = exact.sample(100, generator=seeded(1))
    condition = Condition(role=roles(100, 5, 2, most))
    expected = exact.log_prob(x, condition)
    torch.testing.assert_close(model.log_weight(x, condition, seeded(3)), expected, rtol=1e-9, atol=1e-9)
    gaps = torch.stack([(model.bounds(x, condition, seeded(s)).total + expected).mean() for s in range(100)])
    assert abs(float(gaps.mean())) <= DEVIATIONS * float(gaps.std()) / 10 + 1e-9


@given(st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_what_is_absent_may_hold_anything_valid(seed: int) -> None:
    schema = schema_of(*KINDS)
    x = torch.from_numpy(mixed(12, 0)[0])
    model = built(VAE(latents=3, coder=DenseCoder(width=16)), dataset(schema, x.numpy())).eval()
    role = roles(12, 4, seed)
    other = torch.where(role == Role.ABSENT, torch.from_numpy(mixed(12, seed + 1)[0]), x)
    condition, observed = Condition(role=role), role != Role.ABSENT
    for ask in (
        lambda x: model.bounds(x, condition, seeded()).total,
        lambda x: model.log_weight(x, condition, seeded()),
        lambda x: model.importance_weighted(x, condition, 0, 8),
        lambda x: torch.stack([q.mean for q, _ in model.inferred(x, seeded(), condition)]),
        lambda x: model.conditional(x, observed, seeded()).mean()[~observed],
        lambda x: model.conditional(x, observed, seeded()).sample(seeded())[~observed],
    ):
        assert torch.equal(ask(x), ask(other))


def test_nothing_is_known_of_nothing() -> None:
    """A row without any cell has log p = 0 whatever is drawn, and what is given alone is worth nothing."""
    model, exact = linear(2, stretch=1.3)
    x, role = exact.sample(8, generator=seeded()), roles(8, 5, 0)
    empty = Condition(role=torch.full_like(role, int(Role.ABSENT)))
    assert torch.equal(model.log_weight(x, empty, seeded()), torch.zeros(8).double())
    given_alone = Condition(role=torch.where(role == 0, 1, role).to(torch.uint8))
    for condition in (empty, given_alone):
        assert all(bool((term == 0).all()) for term in model.terms(x, condition, seeded()).values())
    whole = Condition(role=torch.zeros_like(role))
    assert torch.equal(model.log_weight(x, whole, seeded()), model.log_weight(x, Condition(), seeded()))


def test_importance_weighting_goes_from_the_bound_to_log_p() -> None:
    """Of two latents, whose posterior the encoder's has no correlation of."""
    model, exact = linear(2, stretch=1.3)
    x, condition = exact.sample(60, generator=seeded(1)), only(roles(60, 5, 2))
    expected = -exact.log_prob(x, condition)
    draws = [importance_bound(lambda x, g: model.log_weight(x, condition, g), x, 32, seeded(s)) for s in range(20)]
    gaps = [torch.stack([part - expected for part in parts]) for parts in zip(*[d[:2] for d in draws], strict=True)]
    for gap in gaps:  # in expectation, none is below
        assert float(gap.mean()) >= -DEVIATIONS * float(gap.mean(1).std()) / math.sqrt(20)
    assert float(gaps[1].mean()) < 0.2 * float(gaps[0].mean())
    own = model.importance_weighted(x, condition, 0, 2048)
    assert float((own + expected).abs().max()) < 0.2 and float((own + expected).mean().abs()) < 0.02


def test_imputed_cells_have_the_exact_law() -> None:
    """Mean and deviation of 20 rows by 30 independent sets of draws, each within its Monte Carlo error."""
    model, exact = linear(2, stretch=1.3)
    x, known = exact.sample(20, generator=seeded(1)), roles(20, 5, 2, 2) == 0
    truth = exact.conditional(x, known)
    laws = [model.conditional(x, known, seeded(s)) for s in range(30)]
    for statistic in ("mean", "deviation", "median"):
        found = torch.stack([getattr(law, statistic)() for law in laws])
        expected = getattr(truth, statistic)()
        error = found.std(0) / math.sqrt(30)
        # A self-normalised estimate of S draws is biased by its variance, about 1/S of a deviation.
        slack = 0.05 * truth.deviation()
        assert bool(((found.mean(0) - expected).abs() <= DEVIATIONS * error + slack + 1e-9).all()), statistic
        assert torch.equal(found[:, known], expected[known].expand(30, -1))
    assert bool((laws[0].effective > 20).all()) and bool((laws[0].effective <= laws[0].draws).all())
    drawn = torch.stack([law.sample(seeded(100 + s)) for s, law in enumerate(laws)])
    pulls = ((drawn - truth.mean()) / truth.deviation())[:, ~known]
    assert abs(float(pulls.mean())) < DEVIATIONS / math.sqrt(pulls.numel()) + 0.05
    assert float(pulls.std()) == pytest.approx(1, abs=0.1)


class Leaning(nn.Module):
    """A decoder of one real, N(z, 1), and one category, whose logits are slopes·z."""

    slopes = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)

    def forward(self, z: Tensor) -> Tensor:
        zeros = torch.zeros_like(z)
        return torch.cat((zeros, z, zeros, z * self.slopes.to(z.dtype)), 1)


def test_probabilities_of_categories_are_those_of_quadrature() -> None:
    schema = schema_of(Real(), Categories(("a", "b", "c")))
    encoder = Dense(6, (2,), 4, 0).double()
    nn.init.zeros_(encoder.last[-1].weight)
    markov = MarkovGenerator([(1,)], [], Leaning(), TableEmission(schema, 1)).double()
    model = TableVAE(markov, Single(encoder), [Direct(nn.Identity())], (2,)).eval().requires_grad_(False)
    x = torch.tensor([[-2.0, 0.0], [0.3, 0.0], [1.5, 0.0]]).double()
    known = torch.tensor([[True, False]]).expand(3, -1)
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    posterior = (-0.5 * (z.square() + (x[:, :1] - z).square() / (1 + NARROWEST**2))).softmax(1)
    expected = posterior @ (z.unsqueeze(1) * Leaning.slopes).softmax(1)
    found = torch.stack([model.conditional(x, known, seeded(s)).probabilities()[0] for s in range(100)])
    error = found.std(0) / math.sqrt(100)
    assert bool(((found.mean(0) - expected).abs() <= DEVIATIONS * error + 0.01).all())


def test_a_row_has_the_same_law_among_any_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model, exact = linear(2, stretch=1.3)
    x, role = exact.sample(30, generator=seeded(1)), roles(30, 5, 2, 2)
    known, order = role == 0, torch.randperm(30, generator=seeded(3))
    whole, weighted = model.conditional(x, known, seeded()), model.importance_weighted(x, only(role), 7)
    shuffled = model.conditional(x[order], known[order], seeded())
    torch.testing.assert_close(shuffled.mean(), whole.mean()[order], rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(module, "PIECE", 4 * module.DRAWS * 15)
    pieces = model.conditional(x, known, seeded())
    assert len(pieces._pieces) > 2 == len(whole._pieces) + 1
    torch.testing.assert_close(pieces.mean(), whole.mean(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pieces.effective, whole.effective, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.importance_weighted(x, only(role), 7), weighted, rtol=1e-12, atol=1e-12)


def test_a_bound_trained_on_rows_none_of_which_is_complete_is_one() -> None:
    """Decoder and encoder by gradients; log p is the factor analyser's of the decoder that came out."""
    truth = linear(1, columns=4)[1]
    x = truth.sample(400, generator=seeded(1))
    role = torch.where(torch.rand(400, 4, generator=seeded(2)) < 0.3, 2, 0).to(torch.uint8)
    role[torch.arange(400), torch.arange(400) % 4] = int(Role.ABSENT)
    assert bool((role == Role.ABSENT).any(1).all())
    schema = schema_of(*[Real()] * 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = Linear(0.3 * torch.randn(4, 2), torch.zeros(4), torch.ones(4))
        markov = MarkovGenerator([(2,)], [], decoder, TableEmission(schema, 1))
        model = TableVAE(markov, Single(Dense(8, (4,), 24, 0)), [Direct(nn.Identity())], (4,))
    optimiser, generator = torch.optim.Adam(model.parameters(), lr=0.02), seeded(3)
    condition = Condition(role=role)
    before = -float(analyser(decoder, schema).log_prob(x, condition).mean())
    for _ in range(150):
        optimiser.zero_grad()
        model.bounds(x, condition, generator).total.mean().backward()
        optimiser.step()
    model.requires_grad_(False)
    with torch.no_grad():  # the emission's bias was trained on, too
        bias = model.emission.bias.unflatten(0, (4, 3))
        decoder.offset += bias[:, 1]
        decoder.log_stds += bias[:, 2]
        bias.zero_()
    exact = -analyser(decoder, schema).log_prob(x, condition)
    assert before - float(exact.mean()) > 0.3
    gaps = torch.stack([model.bounds(x, condition, seeded(s)).total.double() - exact for s in range(50)])
    error = float(gaps.mean(1).std()) / math.sqrt(50)
    assert -DEVIATIONS * error < float(gaps.mean()) < 0.2
    weighted = -model.importance_weighted(x, condition, 0, 512) - exact
    assert abs(float(weighted.mean())) < 0.2 * float(gaps.mean()) + 0.01


# Whole models of mixed tables.


def mixed(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `KINDS` that go together, and which cells are there."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    x = np.stack(
        (
            np.exp(0.5 * z + 0.2 * rng.normal(size=n)),
            np.rint(2 * (z + 0.3 * rng.normal(size=n))) / 2,
            np.clip(np.rint(1.5 + z), 0, 3),
            (z > 0) + (z > 1),
        ),
        1,
    ).astype(np.float64)
    return x, rng.random(x.shape) > 0.2


def dataset(schema: Schema, x: np.ndarray, observed: np.ndarray | None = None) -> Dataset:
    part = Split(x, observed=observed)
    return Dataset("rows", schema, part, part, part)


@pytest.mark.parametrize(
    "config",
    [
        VAE(latents=3, coder=DenseCoder(width=16)),
        VAE(latents=3, coder=DenseCoder(width=16), prior=Vamp(inputs=5)),
        HVAE(latents=(3, 2), width=16),
        HVAE(latents=(3, 2), width=16, merge="relative"),
    ],
)
def test_models_of_mixed_tables_are_bounded_sampled_and_impute(config: VAE | HVAE) -> None:
    x, observed = mixed(25, 0)
    data = dataset(schema_of(*KINDS), x, observed)
    model = built(config, data).eval().requires_grad_(False)
    rows, role = torch.from_numpy(x), roles(25, 4, 1)
    role[0] = int(Role.ABSENT)
    condition = Condition(role=role)
    total = sum(model.terms(rows, condition, seeded()).values())
    assert bool(total.isfinite().all()) and float(total[0]) == 0
    # Weights are of p̃(modelled | known), whose bound the terms are: one expectation, by two estimators.
    pairs = [
        (-model.log_weight(rows, condition, seeded(s)), sum(model.terms(rows, condition, seeded(100 + s)).values()))
        for s in range(60)
    ]
    differences = torch.stack([(a - b).double().mean() for a, b in pairs])
    assert abs(float(differences.mean())) < DEVIATIONS * float(differences.std()) / math.sqrt(60) + 1e-6
    known = torch.from_numpy(observed)
    law = model.conditional(rows, known, seeded())
    for filled in (law.mean(), law.mode(), law.quantile(0.9), law.sample(seeded())):
        assert torch.equal(filled[known], rows[known]) and bool(filled.isfinite().all())
    assert all(torch.allclose(p.sum(1), torch.ones(25).double()) for p in law.probabilities())
    assert model.sample(7, generator=seeded()).shape == (7, 4)
    told = Condition(role=torch.where(known, 1, 0).to(torch.uint8), values=rows)
    assert torch.equal(model.sample(25, generator=seeded(), condition=told)[known], rows[known])


def test_what_does_not_go_together_is_refused() -> None:
    schema = schema_of(*KINDS)
    with pytest.raises(UserError, match="inference=top-down"):
        HVAE(inference="bottom-up").build(schema)
    with pytest.raises(UserError, match="likelihood=columns"):
        VAE(likelihood=CategoricalOutput()).build(schema)
    model, _ = linear(1)
    with pytest.raises(UserError, match="values"):
        model.sample(2, condition=Condition(role=torch.ones(2, 5, dtype=torch.uint8)))
    with pytest.raises(UserError, match="labels"):
        model.infer(torch.zeros(2, 5), Condition(label=torch.zeros(2, dtype=torch.int64)))


def test_training_lets_cells_be_known_of_a_share_of_the_rows() -> None:
    """Of 4,000 rows, within six standard errors; what is absent stays so."""
    x, role = torch.zeros(4000, 5), roles(4000, 5, 0, 3)
    found = with_known(x, only(role), 0.5, seeded()).role
    assert found is not None
    modelled = role == Role.MODELLED
    assert bool((found[~modelled] == Role.ABSENT).all())
    rate = float((found[modelled] == Role.KNOWN).double().mean())
    assert abs(rate - 0.5 * MOST / 2) < 6 * math.sqrt(0.3 * 0.7 / 4000)
    assert with_known(x, Condition(), 0.0, seeded()).role.sum() == 0  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"loss\.given"):
        ElboLoss(given=0.5).build(VAE().build(levels_schema((4,), 3)))
