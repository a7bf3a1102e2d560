"""Where the rungs of a discrete-time model lie: evenly in t, evenly in λ, or where they cost least.

The bound of a hierarchy t_0 < … < t_T is a sum of costs that know only neighbours,

    E −log p(x | z_{t_0}) + Σ_i KL(t_{i−1}, t_i) + KL(q(z_{t_T} | x) ‖ p(z_{t_T})),

so the best T + 1 of M candidate times are a shortest path, found exactly by dynamic programming
(Watson et al. 2021). Both ends are free: stopping early hands the finest detail to the decoder, whose
cost is one term of the same sum, unless it decodes in groups, which it was taught at t = 0 alone. One
prediction at z_t prices every step that leaves t downwards and the decoder at t, so all M² costs take
M network evaluations per example.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.core.bound import kl_or_draw
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import Law, counted
from vlb.models.diffusion.kernels import ReverseKernel
from vlb.models.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Costs:
    """What each part of a hierarchy costs, mean nats per example.

    times: (M,) candidates, increasing; fine: (M,) reconstruction if the hierarchy stops there; coarse:
    (M,) the prior term if it starts there; steps: (M, M), [i, j] the KL of the step from times[j] down to
    times[i], of meaning for i < j only.
    """

    times: Tensor
    fine: Tensor
    coarse: Tensor
    steps: Tensor

    def total(self, chosen: Tensor) -> float:
        """The bound of the hierarchy on the candidates `chosen` (T + 1,), nats per example."""
        path = self.steps[chosen[:-1], chosen[1:]].sum()
        return float(self.fine[chosen[0]] + path + self.coarse[chosen[-1]])


@torch.no_grad()
def measure_costs(
    model: DiffusionModel,
    x: Tensor,
    times: Tensor,
    kernel: ReverseKernel,
    generator: torch.Generator,
    condition: Condition = UNCONDITIONAL,
    progress: Progress = SILENT,
) -> Costs:
    """All costs on the examples `x` (batch, *shape) between candidate `times` (M,), one draw of each z_t.

    progress: told how many of M(M + 1)/2 costs are known.
    """
    model.check_condition(condition)
    process, embedding = model.process, model.embedding
    times = times.double().to(model.device)
    embedded = embedding.embed(x).double()
    held = model.modelled(condition, embedded)
    count = len(times)
    fine, coarse = torch.zeros(2, count, dtype=torch.float64).unbind(0)
    steps = torch.full((count, count), torch.inf, dtype=torch.float64)
    for j in range(count):
        t = times[j : j + 1]
        z_t = held.hold(process.marginal(embedded, t).sample(generator))
        prediction = model.denoise(z_t, process.schedule.gamma(t), condition)
        if model.groups is None:
            decoder = prediction.law or embedding.given(z_t, *process.alpha_sigma(t, z_t))
            decoder = decoder if condition.role is None else counted(cast(Law, decoder), condition)
            fine[j] = -decoder.log_prob(x).double().mean()
        else:  # decoded in groups from t = 0 alone, as it was trained
            fine[j] = -model.likelihood(z_t, condition, t).log_prob(x).mean() if float(t) == 0 else torch.inf
        coarse[j] = _prior_cost(model, x, t, generator, condition)
        for i in range(j):
            s = times[i : i + 1]
            q = held.law(process.posterior(z_t, embedded, s, t))
            p = held.law(kernel(process, z_t, s, t, prediction))
            steps[i, j] = kl_or_draw(q, p, generator).double().mean()
        progress.at((j + 1) * (j + 2) // 2)
    return Costs(times.cpu(), fine, coarse, steps)


def average(costs: list[Costs], weights: list[float]) -> Costs:
    """The weighted mean of costs measured on several batches at the same times."""
    share = [weight / sum(weights) for weight in weights]

    def mean(name: str) -> Tensor:
        return torch.stack([w * getattr(cost, name) for w, cost in zip(share, costs, strict=True)]).sum(0)

    return Costs(costs[0].times, mean("fine"), mean("coarse"), mean("steps"))


def cheapest(costs: Costs, steps: int) -> Tensor:
    """The T + 1 candidates of least total cost, both ends free: (T + 1,) indices, increasing.

    Raises `UserError` where there are not T + 1 candidates to choose from.
    """
    count = len(costs.times)
    if not 1 <= steps < count:
        raise UserError(f"{count} candidate times allow 1 to {count - 1} steps, not {steps}")
    allowed = torch.ones(count, count, dtype=torch.bool).triu(1)
    price = torch.where(allowed, costs.steps, torch.inf)
    best, came_from = costs.fine, []
    for _ in range(steps):
        best, origin = (best.unsqueeze(1) + price).min(0)
        came_from.append(origin)
    chosen = [int((best + costs.coarse).argmin())]
    for origin in reversed(came_from):
        chosen.append(int(origin[chosen[-1]]))
    return torch.tensor(chosen[::-1])


def _prior_cost(model: DiffusionModel, x: Tensor, t: Tensor, generator: torch.Generator, condition: Condition) -> float:
    """Infinite where the model's own prior is of t = 1 only."""
    if not model.tops_anywhere and float(t) != 1:
        return torch.inf
    return float(model.prior_kl(x, generator, t, condition).double().mean())
