"""The split by quadrature, where data and every latent are a single number: mixtures, any denoiser, small VAEs."""

import torch
from torch import Tensor

from vlb.core.distributions import LOG_2PI, Distribution, Normal
from vlb.core.hierarchy import Climbable
from vlb.measure.tightness.split import Parts, assemble
from vlb.models.mixture.gaussian import GaussianMixture


@torch.no_grad()
def split_line(
    hierarchy: Climbable, data: GaussianMixture, *, low: float = -6.0, high: float = 6.0, points: int = 801
) -> Parts:
    """The split of a hierarchy of numbers on data of a mixture on the line, by `points` nodes from low to high.

    Exact to rounding where the nodes reach beyond all mass and lie no further apart than the narrowest conditional's
    standard deviation. Raises `ValueError` where they do not: some law of the two then has not the mass one.
    """
    nodes = torch.linspace(low, high, points, dtype=torch.float64).unsqueeze(1)
    log_step = torch.log(nodes[1, 0] - nodes[0, 0])
    log_q, ups = [data.log_prob(nodes)], []
    for rung in range(hierarchy.depth):
        ups.append(_pairs(hierarchy.up(rung, nodes), nodes))
        log_q.append((log_q[-1].unsqueeze(1) + ups[-1]).logsumexp(0) + log_step)
    log_p = [hierarchy.top(nodes).log_prob(nodes).double()]
    steps = [_kl(log_q[-1], log_p[0], log_step)]
    loosenesses: list[float] = []
    for rung in reversed(range(hierarchy.depth)):
        above = log_p[0]
        down = _pairs(hierarchy.down(rung, nodes), nodes).mT  # log p(below | z), below × z
        below = (above + down).logsumexp(1) + log_step
        joint = log_q[rung].unsqueeze(1) + ups[rung]
        mass = joint.exp()
        ratio = torch.where(mass > 0, joint - down, 0.0)
        given_above = torch.where(mass > 0, ratio - log_q[rung + 1], 0.0)
        given_below = torch.where(mass > 0, ratio - above + below.unsqueeze(1) - log_q[rung].unsqueeze(1), 0.0)
        steps.insert(0, float((mass * given_above).sum() * (2 * log_step).exp()))
        loosenesses.insert(0, float((mass * given_below).sum() * (2 * log_step).exp()))
        log_p.insert(0, below)
    for law in (*log_q, *log_p):
        total = float((law.logsumexp(0) + log_step).exp())
        if abs(total - 1) > 1e-5:
            raise ValueError(
                f"{points} nodes on [{low}, {high}] give a law the mass {total:.6f}: take more, or further"
            )
    entropy = -float((log_q[0].exp() * log_q[0]).sum() * log_step.exp())
    marginals = [_kl(q, p, log_step) for q, p in zip(log_q, log_p, strict=True)]
    return assemble(entropy, steps, loosenesses, marginals)


def _pairs(law: Distribution, nodes: Tensor) -> Tensor:
    """log density at every node of every law of a batch: (laws, nodes)."""
    if isinstance(law, Normal):
        mean, log_variance = law.mean.double(), law.log_variance.double()
        return -0.5 * ((nodes.mT - mean) ** 2 * (-log_variance).exp() + log_variance + LOG_2PI)
    return torch.stack([law.log_prob(node.expand_as(nodes)).double() for node in nodes], 1)


def _kl(log_q: Tensor, log_p: Tensor, log_step: Tensor) -> float:
    mass = log_q.exp()
    return float((mass * torch.where(mass > 0, log_q - log_p, 0.0)).sum() * log_step.exp())
