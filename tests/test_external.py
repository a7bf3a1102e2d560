"""Agreement with others: VDM's formulas, SciPy's and scikit-learn's densities, flow libraries' solvers.

The losses are transcribed here from the paper, not from this library: Kingma, Salimans, Poole & Ho (2021),
"Variational Diffusion Models", with their equation numbers.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from tests.oracles import plane_mixture, seeded
from vlb.core.bound import estimate
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.distributions import Categorical, Normal, NormalMixture
from vlb.core.emissions import CategoricalPosterior, Centres, Continuous, DiscretisedLogistic, DiscretisedMixture
from vlb.models.diffusion.denoiser import Denoiser, PosteriorDenoiser, RegressionDenoiser
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.flow.integrate import AdaptiveSteps
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.parameterization import Noise
from vlb.models.diffusion.process import VP, GaussianDiffusion
from vlb.models.diffusion.schedules import Cosine, LogSNRLinear, Schedule
from vlb.models.mixture.categorical import fit_gaussian_mixture
from vlb.models.mixture.gaussian import MixtureDenoiser, exact_prior

K, SHAPE = 17, (2, 3)


class Network(nn.Module):
    """A small network with given random weights: (batch, *SHAPE) and γ -> (batch, *SHAPE, outputs)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        generator = seeded(1)
        size = math.prod(SHAPE)
        self.first = nn.Parameter(torch.randn(size + 1, 16, generator=generator, dtype=torch.float64) / 3)
        self.last = nn.Parameter(torch.randn(16, size * outputs, generator=generator, dtype=torch.float64) / 3)

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        features = torch.cat((z.flatten(1), gamma.mean(1, keepdim=True) / 8), 1)
        return (torch.tanh(features @ self.first) @ self.last).view(*z.shape, -1)


def model_of(schedule: Schedule) -> DiffusionModel:
    """Predicts ε from `Network`, and x from z_0 alone: VDM's model of discrete data."""
    denoiser = RegressionDenoiser(Network(1), Noise(), VP())
    return DiffusionModel(GaussianDiffusion(schedule), denoiser, Centres(K), SHAPE)


class Given:
    """Draws nothing: hands out the same places and weights."""

    def __init__(self, places: Tensor, weights: Tensor) -> None:
        self.places, self.weights = places, weights

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.places, self.weights


class VDM:
    """The three losses of Kingma et al. (2021), from the paper, for one ε_0, one t and one ε per example."""

    def __init__(self, schedule: Schedule, network: Network) -> None:
        self.schedule, self.network = schedule, network

    def gamma(self, t: Tensor) -> Tensor:
        return self.schedule.gamma(t).squeeze(-1)

    def eps_hat(self, z: Tensor, gamma: Tensor) -> Tensor:
        return self.network(z, gamma.unsqueeze(-1)).squeeze(-1)

    def loss_recon(self, x: Tensor, eps_0: Tensor) -> Tensor:
        """Kingma et al. 2021, Section 3.3: −Σ_i log p(x_i | z_0,i), p(x_i | z_0,i) ∝ q(z_0,i | x_i)."""
        gamma_0 = self.gamma(torch.zeros(1))
        values = (2 * torch.arange(K) + 1).double() / K - 1
        # z_0 = α_0 f + σ_0 ε_0; divided by α_0, f + exp(γ_0/2) ε_0.
        rescaled = values[x] + torch.exp(0.5 * gamma_0) * eps_0
        log_p = torch.log_softmax(-0.5 * torch.exp(-gamma_0) * (rescaled[..., None] - values) ** 2, -1)
        return -log_p.gather(-1, x[..., None]).squeeze(-1).sum((1, 2))

    def loss_klz(self, x: Tensor) -> Tensor:
        """Eq. 11, prior loss: KL(q(z_1 | x) ‖ N(0, I)) = ½ Σ (σ_1² + α_1² f² − 1 − log σ_1²)."""
        var_1 = torch.sigmoid(self.gamma(torch.ones(1)))
        f = (2 * x.double() + 1) / K - 1
        return 0.5 * (var_1 + (1 - var_1) * f**2 - 1 - torch.log(var_1)).sum((1, 2))

    def noised(self, x: Tensor, gamma: Tensor, eps: Tensor) -> Tensor:
        """z_t = √(1 − σ_t²) f + σ_t ε, σ_t² = sigmoid(γ_t) (Eq. 2 and 4)."""
        variance = torch.sigmoid(gamma).view(-1, 1, 1)
        f = (2 * x.double() + 1) / K - 1
        return torch.sqrt(1 - variance) * f + torch.sqrt(variance) * eps

    def loss_diff(self, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Eq. 17 under Eq. 18, T → ∞: ½ γ′(t) ‖ε − ε̂(z_t; t)‖², γ′ by differentiation."""
        t = t.clone().requires_grad_()
        gamma = self.gamma(t)
        (rate,) = torch.autograd.grad(gamma.sum(), t)
        error = ((eps - self.eps_hat(self.noised(x, gamma, eps), gamma)) ** 2).sum((1, 2))
        return 0.5 * rate * error

    def loss_diff_discrete(self, x: Tensor, i: Tensor, steps: int, eps: Tensor) -> Tensor:
        """Eq. 14: (T/2) expm1(γ(t) − γ(s)) ‖ε − ε̂(z_t; t)‖², s = (i − 1)/T, t = i/T."""
        gamma_s, gamma_t = self.gamma((i - 1) / steps), self.gamma(i / steps)
        error = ((eps - self.eps_hat(self.noised(x, gamma_t, eps), gamma_t)) ** 2).sum((1, 2))
        return 0.5 * steps * torch.expm1(gamma_t - gamma_s) * error


SCHEDULES = [LogSNRLinear(-7.9, 5.0), Cosine(-7.9, 5.0)]


def shared(schedule: Schedule, n: int = 20) -> tuple[DiffusionModel, VDM, Tensor]:
    """One set of weights in both, and integers x."""
    model = model_of(schedule)
    assert isinstance(model.denoiser, Denoiser) and isinstance(model.denoiser.backbone, Network)
    return model, VDM(schedule, model.denoiser.backbone), torch.randint(K, (n, *SHAPE), generator=seeded(2))


def noises(x: Tensor) -> tuple[Tensor, Tensor]:
    """What a generator gives first and second, in the precision in which integer data are embedded: ε_0 and ε."""
    generator = seeded(3)
    return torch.randn(x.shape, generator=generator).double(), torch.randn(x.shape, generator=generator).double()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "cosine"])
def test_continuous_losses_are_those_of_vdm(schedule: Schedule) -> None:
    """Reconstruction, prior and ½ γ′(t) ‖ε − ε̂‖² (Eq. 3.134) for the same noise."""
    model, vdm, x = shared(schedule)
    eps_0, eps = noises(x)
    t = torch.rand(len(x), generator=seeded(4), dtype=torch.float64)
    ours = estimate(model, x, UNCONDITIONAL, Given(t, torch.ones_like(t)), seeded(3))
    # Integers are embedded in float32: that is the difference allowed for.
    torch.testing.assert_close(ours.reconstruction.double(), vdm.loss_recon(x, eps_0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.prior.double(), vdm.loss_klz(x), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.diffusion.double(), vdm.loss_diff(x, t, eps), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 7, 1000])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "cosine"])
def test_discrete_losses_are_those_of_vdm(schedule: Schedule, steps: int) -> None:
    """(T/2) expm1(γ_t − γ_s) ‖ε − ε̂‖² (Eq. 3.99, A.38) for the same noise and step."""
    model, vdm, x = shared(schedule)
    eps_0, eps = noises(x)
    i = torch.randint(1, steps + 1, (len(x),), generator=seeded(5))
    ours = estimate(model.at(steps), x, UNCONDITIONAL, Given(i, torch.full((len(x),), float(steps))), seeded(3))
    torch.testing.assert_close(ours.reconstruction.double(), vdm.loss_recon(x, eps_0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.prior.double(), vdm.loss_klz(x), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        ours.diffusion.double(), vdm.loss_diff_discrete(x, i.double(), steps, eps), rtol=1e-4, atol=1e-4
    )


def test_a_mixture_has_scikit_learns_density() -> None:
    """Given the same parameters, and after a fit of its own to the same draws."""
    from sklearn.mixture import GaussianMixture as Estimator

    mixture = plane_mixture()
    x = mixture.expand(500).sample(seeded(6)).numpy()
    other = Estimator(3, covariance_type="full")
    other.weights_ = mixture.log_weights[0].exp().numpy()
    other.means_ = mixture.means[0].numpy()
    other.covariances_ = torch.einsum("jik,jk,jlk->jil", mixture.basis, mixture.variances[0], mixture.basis).numpy()
    other.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(other.covariances_))
    np.testing.assert_allclose(mixture.log_prob(torch.from_numpy(x)).numpy(), other.score_samples(x), rtol=1e-10)
    fitted = fit_gaussian_mixture(torch.from_numpy(x), 3)
    own = Estimator(3, random_state=0, max_iter=500, tol=1e-6).fit(x)
    np.testing.assert_allclose(fitted.log_prob(torch.from_numpy(x)).numpy(), own.score_samples(x), rtol=1e-10)


def test_a_diffused_mixture_has_scipys_density() -> None:
    """q(z_t) as a sum of SciPy's Gaussians N(αm, α²C + σ²I) (Eq. 3.5)."""
    mixture = plane_mixture()
    alpha, sigma = 0.8, 0.6
    z = torch.randn(200, 2, generator=seeded(7), dtype=torch.float64)
    covariances = torch.einsum("jik,jk,jlk->jil", mixture.basis, mixture.variances[0], mixture.basis).numpy()
    density = sum(
        weight * stats.multivariate_normal(alpha * mean, alpha**2 * covariance + sigma**2 * np.eye(2)).pdf(z.numpy())
        for weight, mean, covariance in zip(
            mixture.log_weights[0].exp().tolist(), mixture.means[0].numpy(), covariances, strict=True
        )
    )
    np.testing.assert_allclose(mixture.diffused(alpha, sigma).log_prob(z).numpy(), np.log(density), rtol=1e-10)


def test_distributions_have_scipys_densities_and_masses() -> None:
    generator = seeded(8)
    # Narrower laws have bins whose mass SciPy's difference of near-ones rounds to zero.
    mean, log_std = 0.3 * torch.randn(2, 30, 4, generator=generator, dtype=torch.float64)
    value = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    loc, scale = mean.numpy(), log_std.exp().numpy()
    expected = stats.norm.logpdf(value.numpy(), loc, scale).sum(1)
    np.testing.assert_allclose(Normal(mean, 2 * log_std).log_prob(value).numpy(), expected, rtol=1e-10)
    levels = torch.randint(K, (30, 4), generator=generator)
    low = np.where(levels == 0, -np.inf, 2 * levels.numpy() / K - 1)
    high = np.where(levels == K - 1, np.inf, 2 * (levels.numpy() + 1) / K - 1)
    for made, law in (
        (DiscretisedLogistic(mean, log_std, Centres(K)), stats.logistic(loc, scale)),
        (
            DiscretisedMixture(torch.zeros(30, 4, 1), mean[..., None], (2 * log_std).exp()[..., None], Centres(K)),
            stats.norm(loc, scale),
        ),
    ):
        expected = np.log(law.cdf(high) - law.cdf(low)).sum(1)
        np.testing.assert_allclose(made.log_prob(levels).numpy(), expected, rtol=1e-6)
    logits = torch.randn(30, 4, K, generator=generator, dtype=torch.float64)
    weights = logits.softmax(-1).numpy()
    expected = np.log(np.take_along_axis(weights, levels.numpy()[..., None], -1)).sum((1, 2))
    np.testing.assert_allclose(Categorical(logits).log_prob(levels).numpy(), expected, rtol=1e-10)
    offsets = torch.linspace(-1, 1, K, dtype=torch.float64)
    mixture = NormalMixture(logits, mean, offsets, torch.tensor([-2.0], dtype=torch.float64))
    components = stats.norm.pdf(value.numpy()[..., None], loc[..., None] + offsets.numpy(), np.exp(-1.0))
    expected = np.log((weights * components).sum(-1)).sum(1)
    np.testing.assert_allclose(mixture.log_prob(value).numpy(), expected, rtol=1e-10)


# --- the probability-flow ODE in others' solvers -----------------------------------------------------------


def flow_models() -> dict[str, DiffusionModel]:
    """A mixture's exact model, and random weights under a posterior head."""
    process = GaussianDiffusion(LogSNRLinear(-4.0, 4.0))
    mixture = plane_mixture()
    exact = DiffusionModel(process, MixtureDenoiser(mixture, VP()), Continuous(), (2,), exact_prior(mixture, process))
    head = CategoricalPosterior(torch.zeros(math.prod(SHAPE), K)).double()
    network = DiffusionModel(process, PosteriorDenoiser(Network(K), head, VP()), Centres(K), SHAPE)
    return {"mixture": exact, "network": network}


FLOW_MODELS = flow_models()


class PaperFlow:
    """dz/dt = f(t) z − ½ g²(t) s(z, t) in z itself (Song et al. 2021, Eq. 13), f = −½σ²γ′, g² = σ²γ′, s = −ε̂/σ."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        shaped = z.view(-1, *self.model.shape)
        schedule = self.model.process.schedule
        variance, rate = (float(part) for part in (torch.sigmoid(schedule.gamma(t)), schedule.rate(t)))
        eps = self.model.denoise(shaped, schedule.gamma(t).view(1, 1)).eps
        return (-0.5 * variance * rate * shaped + 0.5 * math.sqrt(variance) * rate * eps).view_as(z)

    def top(self, z_1: Tensor) -> Tensor:
        """log p(z_1)."""
        shaped = z_1.view(-1, *self.model.shape)
        return self.model.prior(shaped).log_prob(shaped)


def ours(model: DiffusionModel) -> tuple[Tensor, Tensor]:
    z = torch.randn(8, math.prod(model.shape), generator=seeded(9), dtype=torch.float64)
    flow = Flow(model, AdaptiveSteps(1e-9))
    return z, flow.log_prob(z.view(-1, *model.shape), UNCONDITIONAL, seeded()).log_prob


@pytest.mark.parametrize("name", FLOW_MODELS)
def test_the_flow_has_zukos_density(name: str) -> None:
    transforms = pytest.importorskip("zuko.transforms")
    field = PaperFlow(FLOW_MODELS[name])
    z, expected = ours(field.model)
    transform = transforms.FreeFormJacobianTransform(field, 0.0, 1.0, atol=1e-9, rtol=1e-9)
    with torch.no_grad():
        z_1, ladj = transform.call_and_ladj(z)
    torch.testing.assert_close(field.top(z_1) + ladj, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FLOW_MODELS)
def test_the_flow_has_torchdiffeqs_density(name: str) -> None:
    torchdiffeq = pytest.importorskip("torchdiffeq")
    field = PaperFlow(FLOW_MODELS[name])
    z, expected = ours(field.model)

    def both(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = state[0].detach().requires_grad_()
            slope = field(t.double(), z)
            columns = (torch.autograd.grad(slope[:, d].sum(), z, retain_graph=True)[0][:, d] for d in range(z.shape[1]))
            return slope.detach(), torch.stack(list(columns)).sum(0)

    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    z_1, trace = torchdiffeq.odeint(both, (z, torch.zeros_like(expected)), times, rtol=1e-9, atol=1e-9, method="dopri5")
    torch.testing.assert_close(field.top(z_1[-1]) + trace[-1], expected, rtol=0, atol=1e-5)
