"""VAEs of any depth: exact posteriors make every bound log p(x), down and up; wrong ones cost what theory says."""

import math
from itertools import pairwise, product

import pytest
import torch
from torch import nn

from tests.gaussian_hierarchies import PPCA, TwoLevels
from tests.oracles import LIMIT, seeded, z_score
from tests.vae_models import (
    Affine,
    Copies,
    ppca_vae,
    small_categorical_vae,
    two_level_bottom_up,
    two_level_top_down,
)
from vlb.base.errors import UserError
from vlb.core.bound import climb_elbo, elbo
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.distributions import Normal
from vlb.core.emissions import GaussianEmission
from vlb.core.hierarchy import descend, from_prior
from vlb.core.schema import levels_schema
from vlb.models.vae.config import HVAE
from vlb.models.vae.generative import MarkovGenerator, ResidualGenerator, normal
from vlb.models.vae.merge import Direct, Joined, PrecisionWeighted, Relative, precision_weighted
from vlb.models.vae.model import BottomUpVAE, TopDownVAE, VariationalHierarchy
from vlb.nn.coder import Single

ORACLES = {"vae": (ppca_vae, PPCA()), "top-down": (two_level_top_down, TwoLevels()),
           "bottom-up": (two_level_bottom_up, TwoLevels())}  # fmt: skip
EXACT = pytest.mark.parametrize("make, oracle", ORACLES.values(), ids=ORACLES)


def examples(oracle, n: int) -> torch.Tensor:
    with torch.no_grad():
        z = oracle.top(torch.zeros(n, 2 if oracle.depth == 1 else 3).double()).sample(seeded(9))
        for level in reversed(range(oracle.depth)):
            z = oracle.down(level, z).sample(seeded(10 + level))
    return z


@EXACT
def test_exact_posteriors_have_no_looseness_at_any_draw(make, oracle) -> None:
    """log p(x, z)/q(z|x) = log p(x) whatever z: through the descent and through the climb alike."""
    x = examples(oracle, 60)
    for seed in range(3):
        torch.testing.assert_close(
            make().log_weight(x, UNCONDITIONAL, seeded(seed)), oracle.log_prob(x), rtol=1e-9, atol=1e-9
        )


@EXACT
def test_terms_sum_to_the_bound_and_name_every_level(make, oracle) -> None:
    """E Σ terms = −log p(x) with the exact q; ("kl", 1) is next to the data."""
    model, n = make(), 20_000
    x = examples(oracle, 1)
    terms = model.terms(x.expand(n, -1), UNCONDITIONAL, seeded(1))
    assert list(terms) == [("reconstruction",), *(("kl", i + 1) for i in range(model.depth))]
    assert abs(z_score(sum(terms.values()), -oracle.log_prob(x).item())) < LIMIT


@pytest.mark.parametrize("model", [two_level_top_down(1.7), two_level_bottom_up(1.7)], ids=["down", "up"])
def test_kl_per_rung_sums_to_the_joint_kl(model: VariationalHierarchy) -> None:
    """Σ_i E KL_i = KL(q(z_0, z_1 | x) ‖ p(z_0, z_1)), a KL of two six-dimensional Gaussians."""
    x, n = examples(TwoLevels(), 1), 40_000
    m, one = TwoLevels(), torch.ones(3).double()
    means, covariance = [], torch.zeros(6, 6).double()
    if isinstance(model, TopDownVAE):
        top = model.rung(1, model.infer(x)).q
        assert isinstance(top, Normal)
        variance = 1 / (1 / m.b + m.c**2 / m.d)
        gain, offset = variance * m.a / m.b, variance * m.c / m.d * x[0]
        spread = top.log_variance.exp()[0]
        means = [offset + gain * top.mean[0], top.mean[0]]
        blocks = (gain**2 * spread + variance, gain * spread, spread)
    else:
        assert isinstance(model, BottomUpVAE)
        low = model.up(0, x)
        assert isinstance(low, Normal)
        gain, variance = m.a / m.b / (1 + m.a**2 / m.b), 1 / (1 + m.a**2 / m.b)
        spread = low.log_variance.exp()[0]
        means = [low.mean[0], gain * low.mean[0]]
        blocks = (spread, gain * spread, gain**2 * spread + variance * one)
    for (i, j), block in zip(((0, 0), (0, 1), (1, 1)), blocks, strict=True):
        for a, b in {(i, j), (j, i)}:
            covariance[3 * a : 3 * a + 3, 3 * b : 3 * b + 3] = torch.diag(block * one)
    eye = torch.eye(3).double()
    prior = torch.cat((torch.cat(((m.a**2 + m.b) * eye, m.a * eye), 1), torch.cat((m.a * eye, eye), 1)))
    q = torch.distributions.MultivariateNormal(torch.cat(means), covariance)
    p = torch.distributions.MultivariateNormal(torch.zeros(6).double(), prior)
    kl = model.bounds(x.expand(n, -1), UNCONDITIONAL, seeded(2)).kl.sum(1)
    assert abs(z_score(kl, torch.distributions.kl_divergence(q, p).item())) < LIMIT


def test_down_and_up_agree_where_both_are_exact() -> None:
    """Two factorisations of one posterior: equal bounds, though the levels share their KL differently."""
    x = examples(TwoLevels(), 1).expand(20_000, -1)
    down, up = two_level_top_down(), two_level_bottom_up()
    difference = down.bounds(x, UNCONDITIONAL, seeded(3)).total - up.bounds(x, UNCONDITIONAL, seeded(4)).total
    assert abs(z_score(difference)) < LIMIT


def test_looseness_is_the_kl_to_the_posterior() -> None:
    """−VLB + log p(x) = KL(q ‖ p(z|x)) (Eq. 2.7), for a VAE of stretched variance and shifted mean."""
    model, oracle = ppca_vae(stretch=2.0, shift=0.3), PPCA()
    x = examples(oracle, 1).expand(40_000, -1)
    gap = sum(model.terms(x, UNCONDITIONAL, seeded(5)).values()) + oracle.log_prob(x)
    q = normal(model.encoder(x[:1])[0])
    assert abs(z_score(gap, q.kl(oracle.posterior(x[:1])).item())) < LIMIT


def test_precision_weighting_is_bayes_rule() -> None:
    """q̂ = the likelihood of z, p = its prior: the merge is p(z | above, x) (Eq. 2.26), with a network's help or not."""
    oracle = TwoLevels()
    x, above = examples(oracle, 5), torch.randn(5, 3, generator=seeded(6)).double()
    truth = oracle.conditional(oracle.a * above, oracle.b, oracle.c, oracle.d, x)
    for merge in ("precision", "joined"):
        model = two_level_top_down(merge=merge)
        q = model.rung(0, model.advance(1, model.infer(x), above)).q
        assert isinstance(q, Normal)
        torch.testing.assert_close(q.mean, truth.mean)
        torch.testing.assert_close(q.log_variance, truth.log_variance)


def test_product_of_gaussians_is_proportional_to_the_product_of_densities() -> None:
    a = Normal(torch.tensor([[0.3, -2.0]]).double(), torch.tensor([[-3.0, 9.0]]).double())
    b = Normal(torch.tensor([[1.0, 0.5]]).double(), torch.tensor([[0.5, -9.0]]).double())
    z = torch.randn(9, 2, generator=seeded(7)).double()
    ratio = precision_weighted(a, b).log_prob(z) - a.log_prob(z) - b.log_prob(z)
    torch.testing.assert_close(ratio, ratio[:1].expand(9))


def test_generative_feedback_decides_what_an_inference_of_one_pass_can_know() -> None:
    """KL(q(z_0 | z_1, x) ‖ exact posterior) (Eq. 2.25): 0 with p(z_0 | z_1) merged in, positive without it.

    The best q(z_0 | x) that hears nothing from above is the exact marginal posterior; it is still off given z_1 by
    I(z_0; z_1 | x), here in closed form.
    """
    oracle = TwoLevels()
    x = examples(oracle, 1).expand(20_000, -1)
    model = two_level_top_down()
    state = model.infer(x)
    top = model.rung(1, state).q
    assert isinstance(top, Normal)
    z_1 = top.sample(seeded(8))
    exact = oracle.conditional(oracle.a * z_1, oracle.b, oracle.c, oracle.d, x)
    q = model.rung(0, model.advance(1, state, z_1)).q
    assert isinstance(q, Normal)
    torch.testing.assert_close(q.kl(exact), torch.zeros(20_000).double(), atol=1e-9, rtol=0)
    # Bottom-up, q(z_0 | x) q(z_1 | z_0) says the same of z_0 given z_1, by Bayes' rule: precisions add.
    up = two_level_bottom_up()
    low, high = up.up(0, x), up.up(1, torch.stack((torch.zeros(3), torch.ones(3))).double())
    assert isinstance(low, Normal) and isinstance(high, Normal)
    gain, spread = high.mean[1] - high.mean[0], high.log_variance.exp()[0]
    implied = precision_weighted(low, Normal((z_1 - high.mean[0]) / gain, (spread / gain**2).log()))
    torch.testing.assert_close(implied.kl(exact), torch.zeros(20_000).double(), atol=1e-9, rtol=0)
    deaf = oracle.up(0, x)
    ratio = torch.exp(deaf.log_variance - exact.log_variance)[0]
    information = 0.5 * ratio.log().sum().item()
    # KL of the marginal to the conditional, averaged over z_1: ½ Σ (ratio − 1 − log ratio + ratio − 1).
    expected = (ratio - 1).sum().item() - information
    assert expected > 0.1
    assert abs(z_score(deaf.kl(exact), expected)) < LIMIT


def test_importance_weighting_tightens_monotonically() -> None:
    """K = 1 is the bound; more draws never loosen it, nor pass log p(x)."""
    model, oracle = ppca_vae(stretch=2.5), PPCA()
    x, generator = examples(oracle, 1).expand(4_000, -1), seeded(11)
    weights = torch.stack([model.log_weight(x, UNCONDITIONAL, generator) for _ in range(32)])
    bounds = [math.log(k) - weights[:k].logsumexp(0) for k in (1, 2, 8, 32)]
    for fewer, more in pairwise(bounds):
        assert z_score(fewer - more) > LIMIT
    for bound in bounds:
        assert z_score(bound + oracle.log_prob(x)) > -LIMIT


def test_masses_of_a_discrete_vae_sum_to_one() -> None:
    """Σ_x p(x) = 1 with p(x) = ∫ p(z) p(x|z) dz by quadrature, and the bound is above −log p(x) everywhere."""
    model = small_categorical_vae()
    every = torch.tensor(list(product(range(3), repeat=4)))
    axis = torch.linspace(-7, 7, 121)
    grid = torch.cartesian_prod(axis, axis)
    log_prior = Normal(torch.zeros_like(grid), torch.zeros_like(grid)).log_prob(grid)
    cell = math.log(float(axis[1] - axis[0]) ** 2)
    with torch.no_grad():
        decoded = model.generator.decode(grid)
        logits = decoded.logits.log_softmax(-1)  # type: ignore[attr-defined]
        joint = torch.stack(
            [logits.gather(-1, x.expand(len(grid), -1).unsqueeze(-1)).squeeze(-1).sum(1) for x in every]
        )
        log_p = (joint + log_prior + cell).logsumexp(1)
        assert abs(log_p.exp().sum().item() - 1) < 1e-4
        bound = sum(sum(model.terms(every, UNCONDITIONAL, seeded(i)).values()) for i in range(200)) / 200
        assert bool((bound > -log_p - 0.05).all())
        # Unbiased for p(x): the mean importance weight over all draws.
        weights = torch.stack([model.log_weight(every, UNCONDITIONAL, seeded(1000 + i)) for i in range(500)])
        ratio = (weights - log_p).exp().T
        assert all(abs(z_score(row, 1.0)) < LIMIT for row in ratio)


def test_samples_follow_the_model() -> None:
    """Ancestral samples have the mean and variance of p(x), for both directions: generation is the same descent."""
    oracle = TwoLevels()
    variance = oracle.c**2 * (oracle.a**2 + oracle.b) + oracle.d
    for model in (two_level_top_down(), two_level_bottom_up()):
        x = model.sample(20_000, generator=seeded(12))
        for i in range(3):
            assert abs(z_score(x[:, i])) < LIMIT
            assert abs(z_score(x[:, i] ** 2, variance)) < LIMIT
    one, two = (two_level_top_down().sample(3, generator=seeded(13)) for _ in range(2))
    assert torch.equal(one, two)


def test_temperatures_scale_the_noise_of_their_level() -> None:
    """Level 0 frozen: what is left of V[x] is c²a²τ₁² + d."""
    oracle = TwoLevels()
    x = two_level_top_down().cooled(20_000, (0.0, 0.5), seeded(14))
    variance = (oracle.c * oracle.a * 0.5) ** 2 + oracle.d
    assert abs(z_score(x[:, 0] ** 2, variance)) < LIMIT
    whole = two_level_top_down().cooled(5, (1.0,), seeded(15))
    torch.testing.assert_close(whole, two_level_top_down().sample(5, generator=seeded(15)))
    for bad in ((1.0, 1.0, 1.0), (-1.0,), (math.nan, 1.0)):
        with pytest.raises(UserError, match="temperature"):
            two_level_top_down().cooled(2, bad, seeded())


class Add(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, h: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return h + self.layer(z)


def residual() -> TopDownVAE:
    """A residual hierarchy of three levels of two latents, of real x (2,), with random weights."""
    torch.manual_seed(1)
    decoder = nn.Sequential(nn.Linear(3, 2), nn.Unflatten(1, (2, 1)))
    generator = ResidualGenerator(
        torch.zeros(1, 3),
        [nn.Linear(3, 4) for _ in range(3)],
        [Add() for _ in range(3)],
        decoder,
        GaussianEmission(2),
    )
    merges = [Relative(nn.Linear(5, 4)), Joined(nn.Linear(5, 4)), PrecisionWeighted(nn.Linear(2, 4))]
    return TopDownVAE(generator, Copies(3), merges, (2,)).double()


def test_residual_weights_are_unbiased_for_a_linear_gaussian_density() -> None:
    """A linear residual hierarchy is Gaussian, its covariance a Jacobian's: E[w] = p(x), and samples follow it."""
    model = residual()
    for prior in model.generator.priors:  # type: ignore[union-attr]
        with torch.no_grad():
            prior.weight[2:] = 0  # constant variances keep the law Gaussian

    def propagate(noise: list[torch.Tensor]) -> torch.Tensor:
        state = model.start(1)
        for step in descend(
            model, state, lambda level, rung: rung.p.mean + (0.5 * rung.p.log_variance).exp() * noise[level]
        ):
            state = step.state
        return model.likelihood(state).mean[0]  # type: ignore[attr-defined]

    with torch.no_grad():
        zero = [torch.zeros(1, 2).double() for _ in range(3)]
        mean, columns = propagate(zero), []
        for level, unit in product(range(3), range(2)):
            noise = [z.clone() for z in zero]
            noise[level][0, unit] = 1.0
            columns.append(propagate(noise) - mean)
        jacobian = torch.stack(columns, 1)
        covariance = jacobian @ jacobian.T + torch.eye(2).double()
        x = torch.tensor([[0.4, -0.9]]).double()
        log_p = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x[0])
        weights = model.log_weight(x.expand(100_000, -1), UNCONDITIONAL, seeded(16))
        assert abs(z_score((weights - log_p).exp(), 1.0)) < LIMIT
        samples = model.sample(40_000, generator=seeded(17))
        for i in range(2):
            assert abs(z_score(samples[:, i], mean[i].item())) < LIMIT
            assert abs(z_score((samples[:, i] - mean[i]) ** 2, covariance[i, i].item())) < LIMIT


def test_residual_priors_hear_every_level_above() -> None:
    """p(z_0 | z_1, z_2) moves with z_2 at fixed z_1; a Markov generator's does not."""

    def prior_mean(model: VariationalHierarchy, top: float) -> torch.Tensor:
        state = model.start(1)
        for level in range(model.depth - 1, 0, -1):
            value = top if level == model.depth - 1 else 0.2
            state = model.advance(level, state, torch.full((1, 2), value).double())
        return model.rung(0, state).p.mean  # type: ignore[attr-defined]

    torch.manual_seed(2)
    affine = [Affine(torch.randn(2, 2).double(), torch.zeros(2).double(), torch.ones(2).double()) for _ in range(2)]
    markov = TopDownVAE(
        MarkovGenerator([(2,)] * 3, affine, nn.Identity(), GaussianEmission(2)).double(),
        nn.Identity(),
        [Direct(nn.Identity())] * 3,
        (2,),
    )
    with torch.no_grad():
        assert not torch.allclose(prior_mean(residual(), 0.0), prior_mean(residual(), 1.0))
        torch.testing.assert_close(prior_mean(markov, 0.0), prior_mean(markov, 1.0))


def test_one_level_is_the_same_both_ways() -> None:
    """At depth 1 the climb is the descent: same draw, same log-weight; the climb's KL is then in closed form too."""
    down = ppca_vae(stretch=1.5)
    up = BottomUpVAE(down.generator, [down.encoder.network], (4,))  # type: ignore[arg-type, list-item]
    x = examples(PPCA(), 20)
    torch.testing.assert_close(
        down.log_weight(x, UNCONDITIONAL, seeded(18)), up.log_weight(x, UNCONDITIONAL, seeded(18))
    )
    torch.testing.assert_close(elbo(down, down.infer(x), x, seeded(19)).total, climb_elbo(up, x, seeded(19)).total)


def test_training_a_vae_finds_ppca() -> None:
    """From random weights to log p(x): gradient descent on the bound reaches the exact model's within 0.03 nats."""
    oracle, n = PPCA(), 4000
    x = examples(oracle, n)
    torch.manual_seed(3)
    likelihood = GaussianEmission(4).double()
    decoder = nn.Sequential(nn.Linear(2, 4), nn.Unflatten(1, (4, 1))).double()
    generator = MarkovGenerator([(2,)], [], decoder, likelihood)
    model = TopDownVAE(generator, Single(nn.Linear(4, 4).double()), [Direct(nn.Identity())], (4,))
    optimiser = torch.optim.Adam(model.parameters(), 0.1)
    draws = seeded(20)
    for step in range(800):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 800)
        batch = x[1000 * (step % 4) :][:1000]
        loss = sum(model.terms(batch, UNCONDITIONAL, draws).values()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        bounds = [sum(model.terms(x, UNCONDITIONAL, seeded(21 + i)).values()).mean() for i in range(20)]
        gap = torch.stack(bounds).mean() + oracle.log_prob(x).mean()
    # The fitted model may beat the true one on its own sample by about 16 parameters / 2n = 0.002 nats.
    assert -0.03 < gap.item() < 0.03


def test_bad_hierarchies_are_refused() -> None:
    for latents in ([], [(0,)], [(3,), ()]):
        with pytest.raises(UserError, match="at least one"):
            MarkovGenerator(latents, [nn.Identity()] * (len(latents) - 1), nn.Identity(), GaussianEmission(2))
    with pytest.raises(UserError, match="Markov"):
        BottomUpVAE(residual().generator, [], (2,))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not conditioned"):
        ppca_vae().terms(torch.zeros(1, 4), Condition(label=torch.zeros(1, dtype=torch.int64)), seeded())
    with pytest.raises(ValueError, match="transitions"):
        MarkovGenerator([(2,), (2,)], [], nn.Identity(), GaussianEmission(2))


def test_generation_needs_no_data_and_a_bound_does() -> None:
    model = two_level_bottom_up()
    steps = list(descend(model, model.start(2), from_prior(seeded())))
    assert all(step.q is None for step in steps)


@pytest.mark.parametrize("latents", [(2, 3), (2, 3, 5), (5, 2, 3, 4)])
def test_rungs_may_be_of_any_sizes(latents: tuple[int, ...]) -> None:
    model = HVAE(latents=latents, width=8).build(levels_schema((6,), 4))
    terms = model.terms(torch.zeros(2, 6, dtype=torch.int64), UNCONDITIONAL, seeded())
    assert len(terms) == len(latents) + 1 and all(torch.isfinite(term).all() for term in terms.values())
