"""The variational diffusion model: the hierarchy whose q is fixed (Section 3).

What the fixed q buys is random access: the KL of any rung can be had without walking there.
`DiffusionModel` is the continuous-time model, an integral over t (Eq. 3.124, 3.134) of the noise error under the weight
γ′(t); `model.at(grid)` is its discretisation, a hierarchy to descend or climb (`vlb.models.diffusion.discrete`).
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from vlb.core.bound import Ends, estimate, kl_or_draw
from vlb.core.condition import UNCONDITIONAL, Condition, Role, refuse_others
from vlb.core.distributions import Distribution, Rescaled, standard_normal, sum_event
from vlb.core.emissions import Embedding, Law, Successive, counted
from vlb.core.hierarchy import descend, from_prior, last_state
from vlb.core.maps import in_units
from vlb.core.terms import BoundKind, TermPath
from vlb.models.diffusion.decoder import grouped, told
from vlb.models.diffusion.denoiser import Denoises, Prediction, Transported
from vlb.models.diffusion.discrete import STANDARD, GridDiffusion
from vlb.models.diffusion.kernels import ReverseKernel
from vlb.models.diffusion.process import GaussianDiffusion, Scaling, along
from vlb.models.diffusion.roles import Modelled, modelled
from vlb.models.diffusion.times import LowDiscrepancyTime

Prior = Callable[[Tensor], Distribution]
"""p(z_1) for latents like its argument."""


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
        prior: Prior | None = None,
        groups: Tensor | None = None,
    ) -> None:
        """prior: p(z_1) for latents like its argument; the standard normal of the process by default. groups: of each
        element of x, (*shape) int64, where they are decoded one after the other (`vlb.models.diffusion.decoder`)."""
        super().__init__()
        self.process = process
        self.prior = prior or process.prior
        self.denoiser = denoiser
        self.embedding = embedding
        self.shape = tuple(shape)
        self.latent = tuple(embedding.wide(torch.empty(1, *shape, device="meta")).shape[1:])
        self.groups: Tensor | None
        self.register_buffer("groups", groups, persistent=False)  # as its configuration says

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
        return replace(condition, role=self.embedding.roles(condition.role), values=None)

    def modelled(self, condition: Condition, embedded: Tensor | None = None) -> Modelled:
        """Which numbers of latents are modelled, and where the others are held; see `roles.modelled`."""
        return modelled(self.embedding, condition, embedded)

    def likelihood(self, z: Tensor, condition: Condition = UNCONDITIONAL, t: Tensor | None = None) -> Distribution:
        """p(x | z_t), at t = 0 by default (Eq. 3.54): the head's, or what z_t alone says where the head has none.

        log p is of the modelled elements.
        """
        self.check_condition(condition)
        time = torch.zeros(1, dtype=torch.float64, device=z.device) if t is None else t
        if self.groups is not None:
            return self.successive(z, time, condition)
        law = self.predict(z, time, condition).law if self.learns_decoder else None
        if law is None:
            law = self.embedding.given(z, *self.process.alpha_sigma(time, z))
        # Joint laws, which no model with roles has, say nothing of elements.
        return law if condition.role is None else counted(cast(Law, law), condition)

    def successive(self, z: Tensor, t: Tensor, condition: Condition) -> Successive:
        """Π_g p(x_g | z_t, x_{<g}) of what is modelled: one network evaluation for each group, told those before it.

        Of elements that are not modelled z is held already, or the condition has `values`.
        """
        assert self.groups is not None
        gamma = self.process.schedule.gamma(t)
        z = self.modelled(condition).hold(z) if condition.values is not None else z
        group = grouped(self.groups, len(z), condition)

        def given(x: Tensor, g: int) -> Law:
            known = (group >= 0) & (group < g)
            latent = self.embedding.embed(x).to(z.dtype).where(known, z)
            return cast(Law, self.denoise(latent, gamma, told(condition, group, g)).law)

        return Successive(group, self.decodings, given)

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

    @property
    def decodings(self) -> int:
        """How many network evaluations p(x | z_0) costs."""
        return int(self.learns_decoder) if self.groups is None else int(self.groups.max()) + 1

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

        process = GaussianDiffusion(self.process.schedule, scaling)
        return self.made_of(
            process, Transported(self.denoiser, own, scaling), process.prior if self.tops_anywhere else prior
        )

    def made_of(self, process: GaussianDiffusion, denoiser: Denoises, prior: Prior) -> "DiffusionModel":
        """A model of the same x with another process, denoiser and p(z_1); all else is shared."""
        return type(self)(process, denoiser, self.embedding, self.shape, prior, self.groups)

    def at(
        self, grid: int | Tensor, kernel: ReverseKernel = STANDARD, condition: Condition = UNCONDITIONAL
    ) -> GridDiffusion:
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
