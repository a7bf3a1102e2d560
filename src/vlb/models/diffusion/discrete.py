"""A diffusion model in discrete time: the hierarchy of its latents on a grid, to descend or climb.

Its bound is a sum over rungs (Eq. 3.93, A.36), the noise error of the continuous model under another weight,
expm1(γ_t − γ_s) in place of γ′(t). It has a choice of reverse kernel (`vlb.models.diffusion.kernels`) and of where its
rungs begin and end (`vlb.models.diffusion.placement`): the head decodes at any noise level, so the finest need not be
t = 0.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vlb.core.bound import Ends, descent_log_weight, elbo, estimate, kl_or_draw
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.distributions import Distribution
from vlb.core.emissions import Centres
from vlb.core.hierarchy import Rung
from vlb.core.terms import BoundKind, TermPath
from vlb.models.diffusion.kernels import ReverseKernel, Standard
from vlb.models.diffusion.roles import EVERY, Modelled
from vlb.models.diffusion.times import UniformRung

if TYPE_CHECKING:  # a model makes its grids, which name it as a type alone
    from vlb.models.diffusion.model import DiffusionModel

STANDARD = Standard()
WALK = 128  # a bound walks every rung of a grid of up to so many steps, and samples the rungs of longer ones


class DiffusionState(NamedTuple):
    """The latent chosen last (at the top: zeros that carry shape and device), the data where known, what is held."""

    z: Tensor
    x: Tensor | None
    condition: Condition
    held: Modelled = EVERY


class GridDiffusion:
    """A diffusion model on a grid 0 ≤ t_0 < … < t_T ≤ 1: a hierarchy of T + 1 latents z_{t_i} (Eq. 3.52).

    Rung T is the prior's; its KL is the prior term. Rung i < T has p(z_{t_i} | z_{t_{i+1}}). Latents
    are float64 however the network computes: neighbouring ones differ by less than float32 resolves. The sum
    of its KLs is that of all latents from t_0 on, L(t_0; x) (Eq. 4.131–4.132).
    """

    def __init__(
        self,
        model: "DiffusionModel",
        grid: Tensor,
        kernel: ReverseKernel = STANDARD,
        condition: Condition = UNCONDITIONAL,
    ) -> None:
        """grid: (T + 1,) increasing times, T ≥ 1. Raises `ValueError` otherwise, and `UserError` as `terms` does."""
        model.check_condition(condition)
        if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() > 0).all()) or grid[0] < 0 or grid[-1] > 1:
            raise ValueError(f"a grid increases within [0, 1] in at least one step, unlike {grid.tolist()}")
        self.model = model
        self.grid = grid.double().to(model.device)
        self.kernel = kernel
        self.condition = condition

    @property
    def depth(self) -> int:
        return len(self.grid)

    @property
    def steps(self) -> int:
        """T."""
        return self.depth - 1

    @property
    def evaluations(self) -> int:
        """Network evaluations of one descent to x: one a step, and the decoder's where it is learned."""
        return self.steps + self.model.decodings

    def time(self, number: int) -> Tensor:
        """t_i as (1,)."""
        return self.grid[number : number + 1]

    @torch.no_grad()
    def denoised(self, number: int, z: Tensor) -> Tensor:
        """E[x | z_i] in units of levels, (batch, *shape) float64, for discrete data."""
        assert isinstance(self.model.embedding, Centres)
        return self.model.embedding.unembed(self.model.predict(z, self.time(number)).x.double())

    def start(self, n: int, condition: Condition = UNCONDITIONAL) -> DiffusionState:
        """A descent without data: generation of n examples."""
        self.model.check_condition(condition)
        zeros = torch.zeros(n, *self.model.latent, dtype=torch.float64, device=self.grid.device)
        return self._state(zeros, None, condition)

    def infer(self, x: Tensor, condition: Condition = UNCONDITIONAL) -> DiffusionState:
        """A descent that knows x (batch, *shape): the bound."""
        self.model.check_condition(condition)
        embedded = self.model.embedding.embed(x).double()
        return self._state(torch.zeros_like(embedded), embedded, condition)

    def _state(self, z: Tensor, x: Tensor | None, condition: Condition) -> DiffusionState:
        condition = self.condition if condition.nothing else condition
        held = self.model.modelled(condition, x)
        return DiffusionState(z, x, condition if condition.values is None else replace(condition, values=None), held)

    def rung(self, number: int, state: DiffusionState) -> Rung:
        process, x, z = self.model.process, state.x, state.z
        t = self.time(number)
        if number == self.depth - 1:
            top = None if x is None else state.held.law(process.marginal(x, t))
            return Rung(state.held.law(self.model.prior_at(z, t)), top)
        above = self.time(number + 1)
        q = None if x is None else state.held.law(process.posterior(z, x, t, above))
        return Rung(state.held.law(self.reverse(z, t, above, state.condition)), q)

    def reverse(self, z_t: Tensor, s: Tensor, t: Tensor, condition: Condition) -> Distribution:
        """p(z_s | z_t) by this grid's kernel."""
        prediction = self.model.denoise(z_t, self.model.process.schedule.gamma(t), condition)
        return self.kernel(self.model.process, z_t, s, t, prediction)

    def advance(self, number: int, state: DiffusionState, z: Tensor) -> DiffusionState:
        return state._replace(z=z)

    def likelihood(self, state: DiffusionState) -> Distribution:
        return self.model.likelihood(state.z, state.condition, self.time(0))

    def up(self, number: int, below: Tensor) -> Distribution:
        """q(z_0 | x) from data, or q(z_{t_i} | z_{t_{i−1}}), where the grid's condition says what is modelled."""
        process = self.model.process
        if number == 0:
            embedded = self.model.embedding.embed(below).double()
            return self.model.modelled(self.condition, embedded).law(process.marginal(embedded, self.time(0)))
        q = process.transition(below, self.time(number - 1), self.time(number))
        return self.model.modelled(self.condition, below).law(q)

    def down(self, number: int, z: Tensor) -> Distribution:
        """p(x | z_0), or p(z_{t_{i−1}} | z_{t_i}), given the grid's condition."""
        if number == 0:
            return self.model.likelihood(z, self.condition, self.time(0))
        p = self.reverse(z, self.time(number - 1), self.time(number), self.condition)
        return self.model.modelled(self.condition, z).law(p)

    def top(self, z: Tensor) -> Distribution:
        """p(z) at the top."""
        return self.model.modelled(self.condition, z).law(self.model.prior_at(z, self.time(self.depth - 1)))

    def ends(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Ends:
        """The bound's two outer terms, at this grid's own ends."""
        reconstruction = self.model.reconstruction(x, condition, generator, self.time(0))
        return Ends(reconstruction, self.model.prior_kl(x, generator, self.time(self.depth - 1), condition))

    def term(self, x: Tensor, place: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """KL(q(z_s | z_t, x) ‖ p(z_s | z_t)) of the steps ending in rungs `place` (batch,), 1 … T: (batch,) nats.

        For `Standard` it is ½ (SNR(s) − SNR(t)) ‖x − x̂‖² (Eq. 3.86), computed as ½ expm1(γ_t − γ_s) ‖ε − ε̂‖² (Eq. 3.99,
        A.36–A.38). Other one-Gaussian kernels have a closed form, too; the rest, the log-ratio at one draw of z_s.
        """
        return self.step_kl(x, self.grid[place - 1], self.grid[place], condition, generator)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.model.shape

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that the model takes."""
        return self.model.takes

    @property
    def bound(self) -> BoundKind:
        """What the sum of `terms` is."""
        return BoundKind("discrete-time variational bound on", f", T = {self.depth - 1}, {self.kernel} kernel")

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """One draw of the terms of −VLB(x), (batch,) nats each, with a `("kl", i)` per step, i = 1 next to the data.

        The KLs of the steps add up to L_T(x) (Eq. 3.62).

        A grid of more than `WALK` steps is not walked: one of its steps per example stands for all, `diffusion`.
        """
        steps = self.depth - 1
        if steps > WALK:
            drawn = estimate(self, x, condition, UniformRung(steps), generator)
            return {("reconstruction",): drawn.reconstruction, ("prior",): drawn.prior, ("diffusion",): drawn.diffusion}
        walked = elbo(self, self.infer(x, condition), x, generator)
        kls: dict[TermPath, Tensor] = {("kl", i): walked.kl[:, steps + 1 - i] for i in range(1, steps + 1)}
        return {("reconstruction",): walked.reconstruction, ("prior",): walked.kl[:, 0], **kls}

    def log_weight(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """log p(x, z_{0:T}) − log q(z_{0:T} | x) of one trajectory from q, (batch,) nats: log-ratios, not KLs."""
        return descent_log_weight(self, self.infer(x, condition), x, generator)

    def step_kl(self, x: Tensor, s: Tensor, t: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """The same for any step, of this grid or not: s < t (batch,) -> (batch,) nats."""
        self.model.check_condition(condition)
        process = self.model.process
        if self.kernel.is_noise_error:
            weight = torch.expm1(process.schedule.gamma(t) - process.schedule.gamma(s))
            return self.model.noise_error(x, t, weight, condition, generator)
        embedded = self.model.embedding.embed(x).double()
        held = self.model.modelled(condition, embedded)
        z_t = held.hold(process.marginal(embedded, t).sample(generator))
        q, p = held.law(process.posterior(z_t, embedded, s, t)), held.law(self.reverse(z_t, s, t, condition))
        return kl_or_draw(q, p, generator)
