"""Inference per datapoint: what the amortised q loses against the best of its family (Eq. 2.7).

−VLB − (−log p) = KL(q ‖ p(z | x)) has two parts (Cremer et al. 2018): the amortisation gap, which
optimising each example's q closes, and the approximation gap, which needs another family. `refine`
closes the first: every rung's q gets a change of mean and log-variance per example, found by
coordinate ascent, a rung at a time.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.core.bound import elbo
from vlb.core.distributions import Distribution, Normal
from vlb.core.hierarchy import Rung
from vlb.models.vae.model import FeatureState, TopDownVAE


@dataclass(frozen=True)
class Refined:
    """A hierarchy whose q at rung i has changes[i] added: (mean, log-variance), each (batch, *latent)."""

    model: TopDownVAE
    changes: tuple[tuple[Tensor, Tensor], ...]

    @property
    def depth(self) -> int:
        return self.model.depth

    def infer(self, x: Tensor) -> FeatureState:
        """A descent that knows x."""
        return self.model.infer(x)

    def rung(self, number: int, state: FeatureState) -> Rung:
        p, q = self.model.rung(number, state)
        if not isinstance(q, Normal):
            raise TypeError("only a Gaussian q can be refined")
        mean, log_variance = self.changes[number]
        return Rung(p, Normal(q.mean + mean, q.log_variance + log_variance))

    def advance(self, number: int, state: FeatureState, z: Tensor) -> FeatureState:
        return self.model.advance(number, state, z)

    def likelihood(self, state: FeatureState) -> Distribution:
        return self.model.likelihood(state)


def refine(
    model: TopDownVAE,
    x: Tensor,
    generator: torch.Generator,
    *,
    sweeps: int = 3,
    steps: int = 50,
    draws: int = 4,
    rate: float = 0.03,
) -> Refined:
    """Maximise the bound of each example over its own q: `sweeps` rounds over the rungs, `steps` of Adam on each.

    What it minimises is KL(q(z | x) ‖ p(z | x)), at a fixed p (Eq. 5.1, corrected): the model's parameters are
    left alone. `draws` latents per example estimate each gradient.
    """
    with torch.no_grad():
        shapes = [rung.z for rung in model.inferred(x, generator)]
    changes = tuple((torch.zeros_like(z, requires_grad=True), torch.zeros_like(z, requires_grad=True)) for z in shapes)
    many = x.repeat(draws, *[1] * (x.ndim - 1))
    for sweep in range(sweeps):
        for number in reversed(range(model.depth)):
            own = list(changes[number])
            optimiser = torch.optim.Adam(own, lr=rate / (1 + sweep))
            for step in range(steps):
                for group in optimiser.param_groups:
                    group["lr"] = rate / (1 + sweep) * (1 - step / steps)
                repeated = tuple(
                    (m.repeat(draws, *[1] * (m.ndim - 1)), v.repeat(draws, *[1] * (v.ndim - 1))) for m, v in changes
                )
                refined = Refined(model, repeated)
                loss = elbo(refined, refined.infer(many), many, generator).total.sum() / draws
                for parameter, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
                    parameter.grad = gradient
                optimiser.step()
    return Refined(model, tuple((mean.detach(), log_variance.detach()) for mean, log_variance in changes))


@torch.no_grad()
def amortisation_gap(model: TopDownVAE, refined: Refined, x: Tensor, generator: torch.Generator, draws: int) -> Tensor:
    """(draws, batch) nats: −VLB of the amortised q less that of the refined one, with the same noise in both.

    Its mean over draws is the gap; its spread, the Monte Carlo error.
    """
    gaps = []
    for _ in range(draws):
        state = generator.get_state()
        amortised = elbo(model, model.infer(x), x, generator).total
        generator.set_state(state)
        gaps.append(amortised - elbo(refined, refined.infer(x), x, generator).total)
    return torch.stack(gaps)
