"""The variational diffusion model: the hierarchy whose q is fixed (Section 3).

What the fixed q buys is random access: the KL of any rung can be had without walking there.
`DiffusionModel` is the continuous-time model, an integral over t (Eq. 3.124, 3.134); `model.at(grid)`
is its discretisation, a hierarchy to descend or climb, and a sum over rungs (Eq. 3.93, A.36).
Both terms are the same noise error under two weights: γ′(t) and expm1(γ_t − γ_s). On a grid the
model has a choice of reverse kernel (`vlb.models.diffusion.kernels`) and of where its rungs begin and end
(`vlb.models.diffusion.placement`): the head decodes at any noise level, so the finest need not be t = 0.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from vlb.core.bound import Ends, descent_log_weight, elbo, estimate, kl_or_draw
from vlb.core.condition import UNCONDITIONAL, Condition, Role, refuse_others
from vlb.core.distributions import Distribution, Rescaled, standard_normal, sum_event
from vlb.core.emissions import Centres, Embedding, Law, counted
from vlb.core.hierarchy import Rung, descend, from_prior, last_state
from vlb.core.maps import in_units
from vlb.core.terms import BoundKind, TermPath
from vlb.models.diffusion.denoiser import Denoises, Prediction, Transported
from vlb.models.diffusion.kernels import ReverseKernel, Standard
from vlb.models.diffusion.process import GaussianDiffusion, Scaling, along
from vlb.models.diffusion.roles import EVERY, Modelled, modelled
from vlb.models.diffusion.times import LowDiscrepancyTime, UniformRung

STANDARD = Standard()
WALK = 128  # a bound walks every rung of a grid of up to so many steps, and samples the rungs of longer ones


class DiffusionModel(nn.Module):
    """A continuous-time variational diffusion model of x (batch, *shape).

    latent: the shape of z, that of the embedded x. Where the condition has roles, everything is of the modelled
    elements given the known ones (`vlb.models.diffusion.roles`): a model of its own for each pattern of roles.
    """

    def __init__(
        self,
        process: GaussianDiffusion,
        denoiser: Denoises,
        embedding: Embedding,
        shape: tuple[int, ...],
        prior: Callable[[Tensor], Distribution] | None = None,
    ) -> None:
        """prior: p(z_1) for latents like its argument; the standard normal of the process by default."""
        super().__init__()
        self.process = process
        self.prior = prior or process.prior
        self.denoiser = denoiser
        self.embedding = embedding
        self.shape = tuple(shape)
        self.latent = tuple(embedding.wide(torch.empty(1, *shape, device="meta")).shape[1:])

    def predict(self, z: Tensor, t: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """The denoiser at time t, asked in its own precision: z (batch, *shape), t (batch,) or (1,)."""
        self.check_condition(condition)
        return self.denoise(z, self.process.schedule.gamma(t), condition)

    def denoise(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """The denoiser at noise level γ (batch or 1, 1 or D), asked in its own precision: z (batch, *latent).

        What walks over noise levels asks here at every step, having called `check_condition` once before. Of elements
        that are not modelled, z is held already, or the condition has `values`, at which they are held here.
        """
        if condition.values is not None:
            z = self.modelled(condition).hold(z)
        return self.denoiser(z.to(self.dtype or z.dtype), gamma, self.told(condition))

    def told(self, condition: Condition) -> Condition:
        """What the denoiser is told: roles of the numbers of z, which holds the values."""
        if condition.role is None:
            return condition
        return replace(condition, role=self.embedding.wide(condition.role), values=None)

    def modelled(self, condition: Condition, embedded: Tensor | None = None) -> Modelled:
        """Which numbers of latents are modelled, and where the others are held; see `roles.modelled`."""
        return modelled(self.embedding, condition, embedded)

    def likelihood(self, z: Tensor, condition: Condition = UNCONDITIONAL, t: Tensor | None = None) -> Distribution:
        """p(x | z_t), at t = 0 by default (Eq. 3.54): the head's, or what z_t alone says where the head has none.

        log p is of the modelled elements.
        """
        self.check_condition(condition)
        time = torch.zeros(1, dtype=torch.float64, device=z.device) if t is None else t
        law = self.predict(z, time, condition).law if self.learns_decoder else None
        if law is None:
            law = self.embedding.given(z, *self.process.alpha_sigma(time, z))
        # Joint laws, which no model with roles has, say nothing of elements.
        return law if condition.role is None else counted(cast(Law, law), condition)

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that the denoiser takes, and with roles the values of known elements."""
        takes = self.denoiser.takes
        return takes | {"values"} if "role" in takes else takes

    def check_condition(self, condition: Condition) -> None:
        """Raises `UserError` where a condition has parts that the model does not take."""
        refuse_others(condition, self.takes, "this diffusion model")

    @property
    def in_units(self) -> frozenset[str]:
        """The names of weights that are in the units of the data: the maps of a table's columns."""
        return in_units(self)

    @property
    def device(self) -> torch.device:
        """Where the model's tensors are."""
        return next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype | None:
        """The precision in which the denoiser is asked, that of its tensors; None, for any, where it has none."""
        if not isinstance(self.denoiser, nn.Module):
            return None
        tensors = chain(self.denoiser.parameters(), self.denoiser.buffers())
        return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)

    @property
    def learns_decoder(self) -> bool:
        """Whether the head gives p(x | z_t), so that p(x | z_0) costs a network evaluation."""
        return self.denoiser.decodes

    def ends(self, x: Tensor, condition: Condition, generator: torch.Generator) -> Ends:
        """E −log p(x | z_0) by one draw of z_0, and KL(q(z_1|x) ‖ p(z_1)): (batch,) nats each."""
        return Ends(self.reconstruction(x, condition, generator), self.prior_kl(x, generator, condition=condition))

    def reconstruction(
        self, x: Tensor, condition: Condition, generator: torch.Generator, t: Tensor | None = None
    ) -> Tensor:
        """E −log p(x | z_t) by one draw of z_t, (batch,) nats; t (1,) or (batch,), 0 by default."""
        self.check_condition(condition)
        embedded = self.embedding.embed(x)
        time = torch.zeros(1, dtype=torch.float64, device=embedded.device) if t is None else t
        z = self.modelled(condition, embedded).hold(self.process.marginal(embedded, time).sample(generator))
        return -self.likelihood(z, condition, time).log_prob(x)

    @property
    def tops_anywhere(self) -> bool:
        """Whether a hierarchy may have its top below t = 1: not with a prior of one's own, which is of z_1."""
        return self.prior == self.process.prior

    def prior_at(self, z: Tensor, t: Tensor) -> Distribution:
        """p(z_t) of a hierarchy whose top is at t (1,). Raises `ValueError` where only p(z_1) is known."""
        if bool((t == 1).all()):
            return self.prior(z)
        if not self.tops_anywhere:
            raise ValueError("a model with a prior of its own, p(z_1), has its top level at t = 1")
        return self.process.prior(z, t)

    def prior_kl(
        self, x: Tensor, generator: torch.Generator, t: Tensor | None = None, condition: Condition = UNCONDITIONAL
    ) -> Tensor:
        """KL(q(z_t | x) ‖ p(z_t)), t = 1 by default: (batch,) nats; by one draw where it has no closed form."""
        embedded = self.embedding.embed(x)
        time = torch.ones(1, dtype=torch.float64, device=embedded.device) if t is None else t
        held = self.modelled(condition, embedded)
        q, p = (held.law(law) for law in (self.process.marginal(embedded, time), self.prior_at(embedded, time)))
        return kl_or_draw(q, p, generator)

    bound = BoundKind("continuous-time variational bound on")

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """One draw of the three terms of −VLB(x) (Eq. 3.60, 3.135), (batch,) nats each.

        The times are spread evenly over the batch.
        """
        drawn = estimate(self, x, condition, LowDiscrepancyTime(), generator)
        return {("reconstruction",): drawn.reconstruction, ("prior",): drawn.prior, ("diffusion",): drawn.diffusion}

    def term(self, x: Tensor, place: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """½ γ′(t) ‖ε − ε̂‖² at times `place` (batch,): the rate of the bound in t, (batch,) nats (Eq. 3.134, 4.107).

        It is −½ SNR′(t) ‖x − x̂‖² (Eq. 3.124), the limit of T times the term of a step of 1/T (Eq. 3.112–3.119), and
        −dL/dt of the divergence L(t; x) of the latents from t on (Eq. 4.138).
        """
        return self.noise_error(x, place, self.process.schedule.rate(place), condition, generator)

    def noise_error(
        self, x: Tensor, t: Tensor, weight: Tensor, condition: Condition, generator: torch.Generator
    ) -> Tensor:
        """½ Σ_d weight_d (ε − ε̂)_d² at z_t ~ q(z_t | x): t (batch,), weight (batch, 1 or D) -> (batch,)."""
        return self.noise_error_at(x, self.process.schedule.gamma(t), weight, condition, generator)

    def noise_error_at(
        self, x: Tensor, gamma: Tensor, weight: Tensor, condition: Condition, generator: torch.Generator
    ) -> Tensor:
        """The same at noise levels γ (batch, 1 or D) in place of times: it knows no schedule (Eq. 4.76–4.80, 4.112)."""
        self.check_condition(condition)
        embedded = self.embedding.embed(x)
        alpha, sigma = self.process.scaling(along(gamma, embedded))
        eps = standard_normal(embedded.shape, generator, embedded)
        held = self.modelled(condition, embedded)
        z = held.hold(alpha.to(eps.dtype) * embedded + sigma.to(eps.dtype) * eps)
        error = (eps - self.denoise(z, gamma, condition).eps) ** 2
        return 0.5 * sum_event(held.count(along(weight, error) * error))

    def under(self, scaling: Scaling) -> "DiffusionModel":
        """The same model under another scaling, sharing its tensors: every bound is the same (A.45–A.48).

        Latents, denoiser and prior are transported together; with p(z_1) left as it was, they would be two models.
        """
        own = self.process.scaling

        def prior(z: Tensor) -> Distribution:
            gamma = along(self.process.schedule.gamma(torch.ones(1, dtype=torch.float64, device=z.device)), z)
            factor = scaling(gamma)[0] / own(gamma)[0]
            return Rescaled(self.prior(z / factor.to(z.dtype)), factor)

        return DiffusionModel(
            GaussianDiffusion(self.process.schedule, scaling),
            Transported(self.denoiser, own, scaling),
            self.embedding,
            self.shape,
            None if self.tops_anywhere else prior,
        )

    def at(
        self, grid: int | Tensor, kernel: ReverseKernel = STANDARD, condition: Condition = UNCONDITIONAL
    ) -> "GridDiffusion":
        """The discrete-time model on `grid`: T equal steps in t (Eq. 3.50), or increasing times within [0, 1].

        Twice as many steps make it tighter in expectation, if the denoiser is exact (Eq. 3.105–3.111).

        kernel: p(z_s | z_t), `kernels.Standard()` by default. condition: what a climb is conditioned on, and a descent
        that is given no other.
        """
        if isinstance(grid, int):
            grid = torch.linspace(0, 1, grid + 1, dtype=torch.float64)
        return GridDiffusion(self, grid, kernel, condition)

    def sample(
        self,
        n: int,
        *,
        steps: int = 100,
        generator: torch.Generator | None = None,
        condition: Condition = UNCONDITIONAL,
    ) -> Tensor:
        """n ancestral samples (Eq. 3.103) in `steps` steps equal in t: (n, *shape), fresh ones without a generator.

        Of roles, what is modelled is drawn given what is known, which is at the condition's `values`.
        """
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        with torch.no_grad():
            hierarchy = self.at(steps)
            state = last_state(descend(hierarchy, hierarchy.start(n, condition), from_prior(generator)))
            x = hierarchy.likelihood(state).sample(generator).view(n, *self.shape)
        if condition.role is None or condition.values is None:
            return x
        return torch.where(condition.role == Role.KNOWN, condition.values.to(x.dtype), x)


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
        model: DiffusionModel,
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
        """Network evaluations of one descent to x: one a step, and the decoder where it is learned."""
        return self.steps + int(self.model.learns_decoder)

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
