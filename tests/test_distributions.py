"""Densities integrate and masses sum to one, samples have their densities, KLs are their integrals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import LIMIT, seeded, z_score
from vlb.core.distributions import Categorical, MixtureOfNormals, Normal, NormalMixture, Rescaled, expm1_minus
from vlb.core.emissions import Bernoulli, Centres, DiscretisedMixture
from vlb.core.emissions.listed import Listed


def normal(*shape: int, seed: int = 0) -> Normal:
    mean, log_variance = torch.randn(2, *shape, generator=seeded(seed), dtype=torch.float64).unbind(0)
    return Normal(mean, log_variance)


def test_normal_is_torchs_normal() -> None:
    ours = normal(3, 2, 4)
    theirs = torch.distributions.Normal(ours.mean, (0.5 * ours.log_variance).exp())
    value = torch.randn(3, 2, 4, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value).sum((1, 2)))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31))
def test_normal_kl_is_torchs_kl(seed: int) -> None:
    p, q = normal(2, 5, seed=seed), normal(2, 5, seed=seed + 1)
    theirs = torch.distributions.kl_divergence(
        *(torch.distributions.Normal(n.mean, (0.5 * n.log_variance).exp()) for n in (p, q))
    )
    torch.testing.assert_close(p.kl(q), theirs.sum(1))


def test_normal_kl_is_nonnegative_and_zero_only_at_equality() -> None:
    p, q = normal(100, 3), normal(100, 3, seed=5)
    assert bool((p.kl(q) > 0).all())
    assert p.kl(p).abs().max() == 0


def test_normal_samples_have_the_density() -> None:
    n = 20_000
    p = Normal(torch.full((n, 1), 0.7).double(), torch.full((n, 1), -1.3).double())
    x = p.sample(seeded(2))
    assert abs(z_score(x[:, 0], 0.7)) < LIMIT
    assert abs(z_score((x[:, 0] - 0.7) ** 2, math.exp(-1.3))) < LIMIT
    assert abs(z_score(-p.log_prob(x), 0.5 * (math.log(2 * math.pi * math.e) - 1.3))) < LIMIT


@settings(derandomize=True, deadline=None, max_examples=100)
@given(delta=st.floats(-5, 5))
def test_expm1_minus_to_full_precision(delta: float) -> None:
    """Against the Taylor series, summed in exact order."""
    exact = math.fsum(delta**k / math.factorial(k) for k in range(2, 60))
    value = expm1_minus(torch.tensor(delta, dtype=torch.float64)).item()
    assert value == pytest.approx(exact, rel=1e-8, abs=1e-300)


def test_expm1_minus_has_its_derivative() -> None:
    delta = torch.tensor([-2.0, -1e-5, 0.0, 1e-5, 0.3], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(expm1_minus(delta).sum(), delta)
    torch.testing.assert_close(slope, torch.expm1(delta.detach()), rtol=1e-7, atol=1e-14)


def test_categorical_sums_to_one_and_samples_its_frequencies() -> None:
    n, k = 40_000, 6
    logits = 2 * torch.randn(1, 3, k, generator=seeded(3))
    mass = torch.stack(
        [Categorical(logits[:, i : i + 1]).log_prob(torch.full((1, 1), j)).exp() for i in range(3) for j in range(k)]
    ).view(3, k)
    torch.testing.assert_close(mass.sum(1), torch.ones(3))
    x = Categorical(logits.expand(n, -1, -1)).sample(seeded(4))
    assert x.dtype == torch.int64
    for i in range(3):
        for j in range(k):
            assert abs(z_score((x[:, i] == j).double(), mass[i, j].item())) < LIMIT


def test_categorical_never_draws_what_is_impossible() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).expand(5_000, 1, 5)
    assert set(Categorical(logits).sample(seeded(5)).flatten().tolist()) == {1, 3}


def test_categorical_mode_is_the_likeliest() -> None:
    p = Categorical(torch.randn(10, 4, 7, generator=seeded(6)))
    best = p.log_prob(p.mode())
    assert all(bool((p.log_prob(torch.full((10, 4), j)) <= best).all()) for j in range(7))


def test_bernoulli_sums_to_one_and_samples_its_frequency() -> None:
    n = 20_000
    p = Bernoulli(torch.tensor([[0.8, -2.0]]).expand(n, -1))
    for logits in (-40.0, -1.0, 0.0, 60.0):
        one = Bernoulli(torch.tensor([[logits]]))
        total = sum(one.log_prob(torch.tensor([[value]])).exp() for value in (0, 1))
        torch.testing.assert_close(total, torch.ones(1))
    x = p.sample(seeded(7)).double()
    for i, logit in enumerate((0.8, -2.0)):
        assert abs(z_score(x[:, i], 1 / (1 + math.exp(-logit)))) < LIMIT


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    mean=st.floats(-3, 3), log_std=st.floats(-9, 2), levels=st.sampled_from([2, 3, 17, 256]), seed=st.integers(0, 999)
)
def test_discretised_mixture_sums_to_one(mean: float, log_std: float, levels: int, seed: int) -> None:
    """Broad, narrow, far outside of [−1, 1]: the bins always share out all of the mass."""
    generator = seeded(seed)
    weights = torch.randn(1, 1, 3, generator=generator)
    means = mean + 0.3 * torch.randn(1, 1, 3, generator=generator)
    p = DiscretisedMixture(weights, means, torch.full((1, 1, 3), math.exp(2 * log_std)), Centres(levels))
    every = DiscretisedMixture(*(v.expand(levels, -1, -1) for v in (p.log_weights, p.means, p.variances)), p.centres)
    mass = every.log_prob(torch.arange(levels).unsqueeze(1)).exp().sum().item()
    assert mass == pytest.approx(1, abs=1e-9)


def test_discretised_mixture_samples_its_masses() -> None:
    n, levels = 20_000, 5
    parts = torch.tensor([[[0.2, -0.4]]]), torch.tensor([[[-0.9, 0.5]]]), torch.tensor([[[-2.0, -3.0]]]).exp()
    p = DiscretisedMixture(*(v.expand(n, -1, -1) for v in parts), Centres(levels))
    x = p.sample(seeded(8))
    for k in range(levels):
        mass = p.log_prob(torch.full((n, 1), k))[0].exp().item()
        assert abs(z_score((x[:, 0] == k).double(), mass)) < LIMIT


def test_discretised_mixture_has_finite_gradients_everywhere() -> None:
    """At both open ends, and dozens of standard deviations out, where naive differences of CDFs give NaN."""
    values = torch.arange(256).unsqueeze(1)
    parts = [
        torch.zeros(256, 1, 2),
        torch.tensor([-0.9, 0.95]).expand(256, 1, 2).clone(),
        torch.full((256, 1, 2), math.exp(-10.0)),
    ]
    for part in parts:
        part.requires_grad_()
    log_prob = DiscretisedMixture(*parts, Centres(256)).log_prob(values)
    log_prob.sum().backward()
    assert bool(log_prob.isfinite().all())
    assert all(bool(part.grad.isfinite().all()) for part in parts)
    ends = torch.special.ndtr((values.double() * 2 / 256 - 1 + 0.9) * math.exp(5.0))
    assert bool((ends.diff(dim=0) == 0).any())  # the naive mass is exactly 0 somewhere


def test_log_prob_and_kl_are_sums_over_the_event() -> None:
    p, q = normal(4, 3, 2), normal(4, 3, 2, seed=1)
    value = torch.randn(4, 3, 2, generator=seeded(2), dtype=torch.float64)
    parts = torch.stack([Normal(p.mean[:, i], p.log_variance[:, i]).log_prob(value[:, i]) for i in range(3)])
    torch.testing.assert_close(p.log_prob(value), parts.sum(0))
    assert p.kl(q).shape == (4,)


@pytest.mark.parametrize("widths", [1, 3])  # one for all components, or one for each
def test_mixtures_of_normals_are_torchs(widths: int) -> None:
    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    generator = seeded(0)
    law = NormalMixture(drawn(5, 2, 3), drawn(5, 2), drawn(5, 2, 3), drawn(5, 2, widths))
    value, factor = drawn(5, 2), drawn(5, 2).exp()
    torchs = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=law.log_weights),
        torch.distributions.Normal(law.location[..., None] + law.offsets, (0.5 * law.log_variance).exp()),
    )
    assert torch.allclose(law.log_prob(value), torchs.log_prob(value).sum(1))
    scaled = torchs.log_prob(value / factor) - factor.log()
    assert torch.allclose(Rescaled(law, factor).log_prob(value), scaled.sum(1))
    # One law over whole events: components are of events, and so are the weights.
    whole = MixtureOfNormals(drawn(3), drawn(3, 2, 2), drawn(3, 2, 2))
    events = torch.distributions.Independent(
        torch.distributions.Normal(whole.means, (0.5 * whole.log_variances).exp()), 2
    )
    of_events = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=whole.log_weights), events)
    value = drawn(5, 2, 2)
    assert torch.allclose(whole.log_prob(value), of_events.log_prob(value))


def test_values_given_noisy_ones_by_bayes_rule_with_levels_of_noise_of_their_own() -> None:
    """Per dimension, or one for all: p(x = k) N(z; α v_k, σ²)."""
    generator = torch.Generator().manual_seed(0)
    logits, values = torch.randn(5, 3, 4, generator=generator).double(), torch.linspace(-1, 1, 4).double()
    z = torch.randn(5, 3, generator=generator).double()
    for shape in ((5, 1), (5, 3)):
        sigma = torch.rand(shape, generator=generator).double() * 0.8 + 0.1
        alpha = (1 - sigma**2).sqrt()
        found = Listed(logits, values).given(z, alpha, sigma).logits.log_softmax(-1)
        likelihood = -0.5 * ((z.unsqueeze(-1) - alpha.unsqueeze(-1) * values) / sigma.unsqueeze(-1)) ** 2
        torch.testing.assert_close(found, (logits.log_softmax(-1) + likelihood).log_softmax(-1))
