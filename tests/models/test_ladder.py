"""Ladder networks: the denoiser's optimum, the costs, and what they are not."""

import numpy as np
import pytest
import torch

from tests.building import built
from tests.oracles import LIMIT, seeded
from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL
from vlb.data import Split, load
from vlb.measure.recognition import recognise
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.ladder.config import Ladder
from vlb.models.ladder.loss import LadderLoss
from vlb.models.ladder.model import Denoise, LadderNetwork, balanced
from vlb.models.protocols import Classifying, LikelihoodModel, offers, require


def ladder(noise: float = 0.3, weights: tuple[float, ...] = (1.0, 1.0, 1.0)) -> LadderNetwork:
    torch.manual_seed(0)
    x = torch.randint(0, 17, (20, 6), generator=seeded(1))
    return LadderNetwork((6, 5, 3), (6,), 17, noise, weights, x, torch.arange(20) % 3)


def test_the_denoiser_can_be_the_posterior_mean() -> None:
    """z ~ N(u, v), z̃ = z + noise: with μ(u) = u and gate v/(v + σ²), g is E[z | z̃, u], whose error is vσ²/(v + σ²)."""
    v, sigma, n = 0.6, 0.5, 200_000
    g = Denoise(1)
    with torch.no_grad():
        g.weights.zero_()
        g.weights[3] = 1.0
        g.weights[9] = v / (v + sigma**2) - 0.5
    u = torch.randn(n, 1, generator=seeded(2))
    z = u + v**0.5 * torch.randn(n, 1, generator=seeded(3))
    noisy = z + sigma * torch.randn(n, 1, generator=seeded(4))
    error = (g(noisy, u) - z).square().double()
    expected = v * sigma**2 / (v + sigma**2)
    assert abs((error.mean() - expected) / (error.std() / n**0.5)) < 5
    # It beats the denoiser that hears nothing from above: lateral and top-down information are merged.
    assert expected < (1 + v) * sigma**2 / (1 + v + sigma**2)


def test_training_the_denoiser_finds_it() -> None:
    v, sigma = 0.6, 0.5
    g, draws = Denoise(1), seeded(5)
    optimiser = torch.optim.Adam(g.parameters(), 0.02)
    for _ in range(300):
        u = torch.randn(1000, 1, generator=draws)
        z = u + v**0.5 * torch.randn(1000, 1, generator=draws)
        loss = (g(z + sigma * torch.randn(1000, 1, generator=draws), u) - z).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert abs(loss.item() - v * sigma**2 / (v + sigma**2)) < 0.02


def test_a_denoiser_is_the_published_one() -> None:
    """Rasmus et al. 2015, Eq. 2: (z̃ − μ) v + μ, each of μ and v a₁ σ(a₂ u + a₃) + a₄ u + a₅."""
    g = Denoise(3)
    with torch.no_grad():
        g.weights.copy_(torch.randn(10, 3, generator=seeded(1)))
    noisy, above = (torch.randn(5, 3, generator=seeded(seed)) for seed in (2, 3))
    a, z, u = g.weights.detach().numpy(), noisy.numpy(), above.numpy()
    mu, v = (a[i] / (1 + np.exp(-(a[i + 1] * u + a[i + 2]))) + a[i + 3] * u + a[i + 4] for i in (0, 5))
    expected = (z - mu) * (v + 0.5) + mu  # it starts with v = 1/2
    np.testing.assert_allclose(g(noisy, above).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_every_level_is_normalised_in_training() -> None:
    clean = ladder().train().encode(torch.randint(0, 17, (500, 6), generator=seeded(6)))
    for z, mean, std in zip(clean.z[1:], clean.means, clean.stds, strict=True):
        # Of the batch itself (Ioffe & Szegedy 2015), not of what it may be drawn from, but for 1e-5 of the variance.
        raw = z * std + mean
        torch.testing.assert_close(std.square(), raw.var(0, unbiased=False) + 1e-5, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(z.mean(0), torch.zeros(z.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(z.var(0, unbiased=False), torch.ones(z.shape[1]), atol=1e-3, rtol=0)


def test_noise_is_all_that_tells_the_two_passes_apart() -> None:
    model, x = ladder().eval(), torch.randint(0, 17, (50, 6), generator=seeded(7))
    torch.testing.assert_close(model.encode(x).logits, model.encode(x, 0.0, seeded(8)).logits)
    noisy = model.encode(x, 0.3, seeded(8))
    assert not torch.allclose(model.encode(x).z[0], noisy.z[0])
    again = model.encode(x, 0.3, seeded(8))
    torch.testing.assert_close(noisy.logits, again.logits)


def identity(model: LadderNetwork) -> LadderNetwork:
    """With denoisers ẑ = z̃, which leave the costs to the noise and the normalisers."""
    with torch.no_grad():
        for denoiser in model.denoisers:
            denoiser.weights.zero_()
            denoiser.weights[9] = 0.5
    return model


def test_moments_for_use_outside_training_are_means_over_batches() -> None:
    """Of batches of 10, steadier than any batch's own, and about those of all examples."""
    model, x = ladder(0.0).train(), torch.randint(0, 17, (2000, 6), generator=seeded(21))
    whole = model.encode(x)
    own = []
    for batch in x.split(10):
        clean = model.encode(batch)
        model._remember(clean)
        own.append((clean.means[0], clean.stds[0]))
    means, stds = (torch.stack(parts) for parts in zip(*own, strict=True))
    for name, each, all_ in (("mean_0", means, whole.means[0]), ("std_0", stds, stds.mean(0))):
        off = (model.get_buffer(name) - all_).square().mean()
        assert off < 0.2 * (each - all_).square().mean()


def test_the_cost_of_no_denoising_is_the_noise_of_every_layer() -> None:
    """With nothing passed up and nothing normalised, ẑ_l − z_l is the noise of layer l: mean square σ² (Fig. 2.3)."""
    model, x = identity(ladder(0.7)).eval(), torch.randint(0, 17, (20_000, 6), generator=seeded(11))
    with torch.no_grad():
        for layer in model.up:
            layer.weight.zero_()
        costs, _ = model.costs(x, seeded(12))
    for cost, width in zip(costs.double(), (6, 5, 3), strict=True):
        error = 0.7**2 * (2 / (len(x) * width)) ** 0.5
        assert abs(cost - 0.7**2) < LIMIT * error


def test_what_is_denoised_is_normalised_as_the_clean_pass_was() -> None:
    """Without noise, ẑ_l = z_l is compared with z_l after the clean moments of layer l (Rasmus 2015, §3.3), by hand."""
    model, x = identity(ladder(0.0)).train().double(), torch.randint(0, 17, (50, 6), generator=seeded(13))
    with torch.no_grad():
        costs, _ = model.costs(x, seeded(14))
        h = x.double().numpy() / 16
        assert costs[0] == 0
        for number, (layer, shift) in enumerate(zip(model.up, model.shifts, strict=True), 1):
            raw = h @ layer.weight.numpy().T
            mean, std = raw.mean(0), np.sqrt(raw.var(0) + 1e-5)
            z = (raw - mean) / std
            assert costs[number].item() == pytest.approx((((z - mean) / std - z) ** 2).mean(), rel=1e-10)
            h = np.maximum(z + shift.numpy(), 0)


def test_in_double_precision_it_says_the_same() -> None:
    model, x = ladder().eval(), torch.randint(0, 17, (50, 6), generator=seeded(15))
    single = model.classify(x)
    assert model.double().classify(x).dtype == torch.float64
    torch.testing.assert_close(model.classify(x).float(), single, atol=1e-5, rtol=0)


def test_losses_reach_every_parameter() -> None:
    """After one step: the denoisers start deaf to what is above, and hear it from then on."""
    model = ladder().train()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    x = torch.randint(0, 17, (40, 6), generator=seeded(9))
    for step in range(2):
        losses = model.losses(x, 10, seeded(step))
        assert list(losses) == ["cross_entropy", "cost_0", "cost_1", "cost_2"]
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())
    supervised = ladder(weights=(0.0, 0.0, 0.0)).train().losses(torch.zeros(4, 6), 10, seeded(10))
    assert list(supervised) == ["cross_entropy"]


def test_labels_are_balanced_and_reproducible() -> None:
    labels = np.repeat(np.arange(10), 30)
    chosen = labels[balanced(labels, 100, 0)]
    assert np.bincount(chosen).tolist() == [10] * 10
    assert np.array_equal(balanced(labels, 100, 0), balanced(labels, 100, 0))
    assert not np.array_equal(balanced(labels, 100, 0), balanced(labels, 100, 1))


@pytest.mark.slow
def test_unlabelled_examples_help() -> None:
    """Trained on digits with 20 labels, denoising costs leave fewer errors than none (the same steps and labels)."""
    data, rates = load("digits"), {}
    x = torch.from_numpy(data.train.x)
    for costs in ((10.0, 1.0, 0.1, 0.1), (0.0, 0.0, 0.0, 0.0)):
        torch.manual_seed(0)
        config = Ladder(widths=(100, 50), costs=costs, labelled=20)
        model = built(config, data)
        made = LadderLoss(labelled_batch=20).build(model)
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        model.train()
        for step in range(400):
            index = torch.randint(0, len(x), (64,), generator=seeded(step))
            terms, _ = made(model, x[index], UNCONDITIONAL, seeded(step), step)
            loss = torch.stack(list(terms.values())).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        rates[costs[0]] = recognise(model.eval(), data.test)
    assert rates[10.0].error_rate + 2 * rates[10.0].standard_error < rates[0.0].error_rate
    assert len(rates[10.0].cost_per_layer) == 4
    assert rates[10.0].cost_per_layer[0] < rates[0.0].cost_per_layer[0]


def test_likelihood_is_refused_with_the_reason() -> None:
    model = ladder()
    assert not offers(model, LikelihoodModel) and offers(model, Classifying)
    for capability in (LikelihoodModel, DiffusionModel):
        with pytest.raises(UserError, match=r"no likelihood.*error_rate"):
            require(model, capability, "a bound needs a likelihood")


def test_bad_configurations_are_refused() -> None:
    data = load("digits")
    with pytest.raises(UserError, match="at least 10"):
        built(Ladder(labelled=3), data)
    with pytest.raises(UserError, match="cost weights"):
        built(Ladder(costs=(1.0,)), data)
    with pytest.raises(UserError, match="labelled examples"):
        recognise(ladder(), Split(data.test.x))


def test_a_layer_may_have_one_unit() -> None:
    x, labels = torch.randint(0, 3, (6, 4)), torch.arange(6) % 2
    LadderNetwork((4, 1, 2), (4,), 3, 0.3, (1.0, 1.0, 1.0), x, labels)
    with pytest.raises(UserError, match="at least one unit"):
        LadderNetwork((4, 0, 2), (4,), 3, 0.3, (1.0, 1.0, 1.0), x, labels)
