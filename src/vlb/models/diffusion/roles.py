"""Which numbers of a latent are modelled, and where the others are held.

A diffusion model with roles is a model p(x_modelled | x_known) for each pattern of roles: modelled elements are noised
and drawn, known ones enter every latent as their embedded values, absent ones as 0. So γ stays a function of t, and all
sums of the bound are over what is modelled.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import Condition, Role
from vlb.core.distributions import Distribution, Elementwise, Held
from vlb.core.emissions import Embedding


@dataclass(frozen=True, eq=False)
class Modelled:
    """on: (batch, *latent) bool, the numbers that are modelled, None for all; at: (batch, *latent), what the others
    are."""

    on: Tensor | None = None
    at: Tensor | None = None

    def hold(self, z: Tensor) -> Tensor:
        """z with what is not modelled where it is held."""
        return z if self.on is None or self.at is None else torch.where(self.on, z, self.at.to(z.dtype))

    def law(self, law: Distribution) -> Distribution:
        """The law of latents with the same elements held: of one whose elements are independent."""
        if self.on is None or self.at is None:
            return law
        elements: Elementwise = law  # type: ignore[assignment]  # of joint laws no model takes roles
        return Held(elements, self.on, self.at)

    def count(self, values: Tensor) -> Tensor:
        """Values of numbers, 0 of those that are not modelled."""
        return values if self.on is None else torch.where(self.on, values, 0.0)

    def rows(self, keep: Tensor) -> "Modelled":
        """Of some examples."""
        return self if self.on is None or self.at is None else Modelled(self.on[keep], self.at[keep])


EVERY = Modelled()


def modelled(embedding: Embedding, condition: Condition, embedded: Tensor | None = None) -> Modelled:
    """What a condition says of latents. embedded: x (batch, *latent), or any latent that is held already; else known
    elements are the condition's `values`. Raises `UserError` where some are known and have no values."""
    if condition.role is None:
        return EVERY
    role = embedding.roles(condition.role)
    known = role == Role.KNOWN
    if embedded is None and condition.values is not None:
        embedded = embedding.embed(condition.values)
    if embedded is None:
        if bool(known.any()):
            raise UserError("some elements are said to be known and have no values: give the condition's values")
        embedded = torch.zeros(1, dtype=torch.float64, device=role.device)
    return Modelled(role == Role.MODELLED, torch.where(known, embedded, 0.0))
