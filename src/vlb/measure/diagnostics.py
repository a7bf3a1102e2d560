"""Which latents a hierarchy uses: active units, KL, mutual information and label probes per rung.

I(x; z_i) under q is measured for the empirical distribution of N examples, so it is at most log N. A
rung whose q depends on other latents has no closed q(z_i | x): averages over draws of them bound its
logarithm from both sides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.distributions import LOG_2PI, MixtureOfNormals, Normal
from vlb.core.hierarchy import descend, from_prior
from vlb.models.vae.model import VariationalHierarchy

ACTIVE = 0.01


class Information(NamedTuple):
    """Bounds on I(x; z), nats, in expectation; they meet where z is drawn from q(z | x) without other latents."""

    low: float
    high: float


@dataclass(frozen=True)
class RungUse:
    """One rung. kl: nats per example; information: I(x; z_i); active: units, of all, whose posterior mean varies."""

    kl: float
    information: Information
    active: int
    units: int


def active_units(means: Tensor, threshold: float = ACTIVE) -> Tensor:
    """Which units' posterior means vary over examples: (n, *latent) -> (units,) bool, Var > threshold (Burda 2016)."""
    return means.flatten(1).var(0) > threshold


def pairwise_log_prob(q: Normal, z: Tensor) -> Tensor:
    """log q_b(z_a) for every pair: z (n, *latent) under the m Gaussians of q -> (n, m) nats."""
    z = z.flatten(1).double()
    mean = q.mean.flatten(1).double()
    log_variance = q.log_variance.expand_as(q.mean).flatten(1).double()
    precision = (-log_variance).exp()
    # ‖z − μ‖² in three products: (n, m) numbers instead of (n, m, D).
    distance = (z**2) @ precision.T - 2 * z @ (mean * precision).T + (mean**2 * precision).sum(1)
    return -0.5 * (distance + (log_variance + LOG_2PI).sum(1))


def mutual_information(z: Tensor, own: Normal, fresh: Sequence[Normal]) -> Information:
    """I(x; z) of n examples from z_a ~ own_a, its conditional given the parents drawn with it, (n, *latent).

    fresh: K conditionals of the same examples, given K fresh draws of the parents; none where there are no parents.
    log q(z_a | x_a) is below E log of the mean of fresh conditionals, and above it with `own` among them (Sobolev &
    Vetrov 2019); log q(z_a) likewise, over all examples (Eq. 2.35).
    """
    alone, n = pairwise_log_prob(own, z), len(z)
    if not fresh:
        exact = float((alone.diagonal() - alone.logsumexp(1) + math.log(n)).mean())
        return Information(exact, exact)
    others = torch.stack([pairwise_log_prob(q, z) for q in fresh])
    joint = others.logsumexp(0) - math.log(len(fresh))
    both = torch.cat((others, alone.unsqueeze(0))).logsumexp(0) - math.log(len(fresh) + 1)

    def marginal(pairs: Tensor) -> Tensor:
        return pairs.logsumexp(1) - math.log(n)

    mixed = torch.where(torch.eye(n, dtype=torch.bool, device=z.device), both, joint)
    low = max(0.0, float((joint.diagonal() - marginal(mixed)).mean()))
    high = float((both.diagonal() - marginal(joint)).mean())
    return Information(low, max(low, min(math.log(n), high)))


@torch.no_grad()
def rung_use(
    model: VariationalHierarchy,
    x: Tensor,
    generator: torch.Generator,
    *,
    condition: Condition = UNCONDITIONAL,
    draws: int = 32,
) -> list[RungUse]:
    """Every rung's use on examples x (n, *shape), rung 0, next to the data, first.

    The KLs are means over `draws` draws and sum to the bound's; bottom-up they are log-ratios (`bound.climb_elbo`).
    """
    if draws < 2:
        raise UserError(f"what rungs are used for is measured with at least 2 draws, not {draws}")
    kl = torch.stack([model.bounds(x, condition, generator).kl.double().mean(0).flip(0) for _ in range(draws)]).mean(0)
    runs = [model.inferred(x, generator, condition) for _ in range(draws)]
    uses = []
    for number in range(model.depth):
        own, *fresh = [gaussian(run[number].q) for run in runs]
        # Means that agree in all draws depend on no other latent.
        alone = all(torch.equal(own.mean, q.mean) for q in fresh)
        information = mutual_information(runs[0][number].z, own, [] if alone else fresh)
        means = torch.stack([own.mean, *(q.mean for q in fresh)]).flatten(2)
        # Averaging draws of the parents leaves a share of their variance in the means, which is no activity.
        active = means.mean(0).var(0) - means.var(0).mean(0) / draws > ACTIVE
        uses.append(RungUse(float(kl[number]), information, int(active.sum()), active.numel()))
    return uses


@torch.no_grad()
def aggregate_kl(model: VariationalHierarchy, x: Tensor, generator: torch.Generator, *, draws: int = 8) -> list[float]:
    """Upper bounds on KL(q(z_i) ‖ p(z_i)) per rung, rung 0 first, nats: aggregate posterior of x and the model's law.

    Both are averages over drawn parents, `draws` per example (Eq. 2.35). Those of q have the latent's own among them,
    so log q(z) is not underestimated in expectation, and log p(z) is not overestimated; at the top rung of a
    top-down hierarchy nothing is above, and the value is exact but for the draws of z.
    """
    if draws < 2:
        raise UserError(f"aggregate posteriors are measured with at least 2 draws, not {draws}")
    n, top = len(x), model.depth - 1
    runs = [model.inferred(x, generator) for _ in range(draws)]
    prior = [step.p for step in descend(model, model.start(draws * n), from_prior(generator))][::-1]
    result = []
    for number in range(model.depth):
        z = runs[0][number].z
        pairs = torch.cat([pairwise_log_prob(gaussian(run[number].q), z) for run in runs], 1)
        log_q = pairs.logsumexp(1) - math.log(pairs.shape[1])
        if number == top:
            log_p = model.rung(top, model.start(n)).p.log_prob(z).double()
        else:
            log_p = pairwise_log_prob(gaussian(prior[number]), z).logsumexp(1) - math.log(draws * n)
        result.append(float((log_q - log_p).mean()))
    return result


def aggregate(q: Normal, n: int = 1) -> MixtureOfNormals:
    """The aggregate posterior of q(z | x_i), i = 1 … N, with equal weights (Eq. 2.35), to be drawn from n at a time."""
    log_variance = q.log_variance.expand_as(q.mean)
    return MixtureOfNormals(torch.zeros(len(q.mean)).to(q.mean), q.mean, log_variance, n)


def gaussian(q: object) -> Normal:
    """q as a Gaussian. Raises `TypeError` otherwise."""
    if not isinstance(q, Normal):
        raise TypeError(f"this diagnostic needs a Gaussian q, not {type(q).__name__}")
    return q


def label_probe(train: Tensor, train_labels: np.ndarray, test: Tensor, test_labels: np.ndarray) -> float:
    """Test accuracy of a logistic regression from latents (n, *latent), standardised, to labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
    probe.fit(train.flatten(1).double().cpu().numpy(), train_labels)
    return float(probe.score(test.flatten(1).double().cpu().numpy(), test_labels))
