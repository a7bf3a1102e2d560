"""The variational lower bound, exact over a descent or estimated from sampled rungs.

All values are nats per example of the *negative* bound (free energy, Eq. 3.61), so that smaller is
better and `total` ≥ −log p(x) in expectation. `Bound` holds one KL per rung (Eq. 2.34, 3.60);
`BoundEstimate` holds a few sampled terms of the same sum – or, as T → ∞, of the integral it
becomes (Eq. 3.93, 3.124): one estimator under two measures.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from vlb.core.condition import Condition
from vlb.core.distributions import Distribution, closed_kl
from vlb.core.hierarchy import Choose, Climbable, ClimbStep, Hierarchy, Step, climb, descend, from_posterior

State = TypeVar("State")


class Bound(NamedTuple):
    """−VLB with a KL per rung. kl: (batch, depth), the top first; reconstruction: (batch,)."""

    kl: Tensor
    reconstruction: Tensor

    @property
    def total(self) -> Tensor:
        """−VLB(x), (batch,) nats."""
        return self.reconstruction + self.kl.sum(1)


class BoundEstimate(NamedTuple):
    """−VLB with the diffusion loss estimated from `draws` places in the hierarchy.

    reconstruction, prior: (batch,); terms, weights, places: (batch, draws), where a place is a time t
    or the number of a rung, and weights make the mean of weights·terms unbiased for the sum over rungs.
    """

    reconstruction: Tensor
    prior: Tensor
    terms: Tensor
    weights: Tensor
    places: Tensor

    @property
    def diffusion(self) -> Tensor:
        """The estimated diffusion loss L_T or L_∞, (batch,) nats."""
        return (self.weights * self.terms).mean(1)

    @property
    def total(self) -> Tensor:
        """An unbiased estimate of −VLB(x), (batch,) nats."""
        return self.reconstruction + self.prior + self.diffusion


class Ends(NamedTuple):
    """The two terms of the bound outside the diffusion loss, (batch,) nats each (Eq. 3.60)."""

    reconstruction: Tensor
    prior: Tensor


class Measure(Protocol):
    """Draws places in a hierarchy: (n,) places and weights 1/density of each (Eq. 3.93, 4.121)."""

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]: ...


class RandomAccess(Protocol):
    """A model whose term at any place of the hierarchy can be had without walking there."""

    def ends(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Ends: ...

    def term(self, x: Tensor, place: Tensor, condition: Condition, generator: torch.Generator) -> Tensor: ...


def kl_or_log_ratio(step: Step[State]) -> Tensor:
    """KL(q ‖ p) of a step where it has a closed form, else the log-ratio at the chosen z: (batch,)."""
    if step.q is None:
        raise ValueError("the bound needs q at every rung")
    closed = closed_kl(step.q, step.p)
    return step.q.log_prob(step.z) - step.p.log_prob(step.z) if closed is None else closed


def kl_or_draw(q: Distribution, p: Distribution, generator: torch.Generator) -> Tensor:
    """KL(q ‖ p) where it has a closed form, else the log-ratio at one draw from q: (batch,)."""
    closed = closed_kl(q, p)
    if closed is not None:
        return closed
    z = q.sample(generator)
    return q.log_prob(z) - p.log_prob(z)


def elbo(hierarchy: Hierarchy[State], state: State, x: Tensor, generator: torch.Generator) -> Bound:
    """The bound of `x` by one descent from `state` that follows q (Eq. 2.11, 2.34, 3.60)."""
    kls = []
    for step in descend(hierarchy, state, from_posterior(generator)):
        kls.append(kl_or_log_ratio(step))
        state = step.state
    return Bound(torch.stack(kls, 1), -hierarchy.likelihood(state).log_prob(x))


def descent_log_weight(hierarchy: Hierarchy[State], state: State, x: Tensor, generator: torch.Generator) -> Tensor:
    """log p(x, z) − log q(z | x) of one descent that follows q, (batch,) nats.

    Its mean is the bound (Eq. 2.9, 2.29), and with q = p(z | x) it is log p(x) at every draw (Eq. 2.2); logmeanexp over
    K draws is the importance-weighted bound (Burda et al. 2016).
    """
    ratio, state = descent_log_ratio(hierarchy, state, from_posterior(generator))
    return ratio + hierarchy.likelihood(state).log_prob(x)


def descent_log_ratio(hierarchy: Hierarchy[State], state: State, choose: Choose) -> tuple[Tensor, State]:
    """log p(z) − log q(z | x) of one descent whose latents, chosen by `choose`, are draws of q: (batch,) nats, and the
    state at its end."""
    ratio = torch.zeros((), dtype=torch.float64)
    for step in descend(hierarchy, state, choose):
        if step.q is None:
            raise ValueError("weights need q at every rung")
        ratio = ratio + step.p.log_prob(step.z) - step.q.log_prob(step.z)
        state = step.state
    return ratio, state


def climb_log_weight(hierarchy: Climbable, x: Tensor, generator: torch.Generator) -> Tensor:
    """The same log p(x, z) − log q(z | x), along a climb (Eq. 2.20): no closed form per rung."""
    ratio, z = torch.zeros((), dtype=torch.float64), x
    steps: Iterator[ClimbStep] = climb(hierarchy, x, lambda _, q: q.sample(generator))
    for step in steps:
        ratio = ratio + step.p.log_prob(step.below) - step.q.log_prob(step.z)
        z = step.z
    top: Distribution = hierarchy.top(z)
    return ratio + top.log_prob(z)


def climb_elbo(hierarchy: Climbable, x: Tensor, generator: torch.Generator) -> Bound:
    """The bound of `x` by one climb (Eq. 2.20), its log-ratio shared out over the rungs.

    Rung i < top has log q(z_i | z_{i−1}) − log p(z_i | z_{i+1}), a single draw that may be negative: bottom-up, no
    rung but the top one has its KL in closed form.
    """
    steps = list(climb(hierarchy, x, lambda _, q: q.sample(generator)))
    z, q = steps[-1].z, steps[-1].q
    kls = [kl_or_log_ratio(Step(len(steps) - 1, hierarchy.top(z), q, z, None))]
    for step, above in reversed(list(pairwise(steps))):
        kls.append(step.q.log_prob(step.z) - above.p.log_prob(step.z))
    return Bound(torch.stack(kls, 1), -steps[0].p.log_prob(x))


def estimate(
    model: RandomAccess,
    x: Tensor,
    condition: Condition,
    measure: Measure,
    generator: torch.Generator,
    draws: int = 1,
) -> BoundEstimate:
    """Estimate the bound of `x` (batch, …) from `draws` places per example drawn under `measure`."""
    ends = model.ends(x, condition, generator)
    terms, weights, places = [], [], []
    for _ in range(draws):
        place, weight = measure.draw(x.shape[0], generator)
        place, weight = place.to(x.device), weight.to(x.device)
        terms.append(model.term(x, place, condition, generator))
        weights.append(weight)
        places.append(place)
    return BoundEstimate(
        ends.reconstruction, ends.prior, torch.stack(terms, 1), torch.stack(weights, 1), torch.stack(places, 1)
    )
