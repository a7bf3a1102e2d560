"""The two ways of dividing KL(q(x, z) ‖ p(x, z)) over a hierarchy of L latents."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """E[−VLB] − H(q), nats per example, from the top down (`steps`) and from the data up (`loosenesses`, `misfit`).

    entropy: H(q(x)). steps: (L + 1,), E KL(q(below | z_i) ‖ p(below | z_i)) from the decoder, i = 0, to the prior
    mismatch KL(q(z_top) ‖ p(z_top)). loosenesses: (L,), E KL(q(z_i | below) ‖ p(z_i | below)), rung 0 first.
    marginals: (L + 1,), KL(q ‖ p) of x and of each z_i. They are float64, and obey, rung by rung,
    steps_i = loosenesses_i + marginals_i − marginals_{i+1}: what a step gets wrong makes the bound looser or the
    marginal below it worse.
    """

    entropy: float
    steps: Tensor
    loosenesses: Tensor
    marginals: Tensor

    @property
    def excess(self) -> float:
        """E[−VLB] − H(q): by how much the bound exceeds what no model can beat."""
        return float(self.steps.sum())

    @property
    def decoder(self) -> float:
        """E KL(q(x | z_0) ‖ p(x | z_0))."""
        return float(self.steps[0])

    @property
    def prior(self) -> float:
        """KL(q(z_top) ‖ p(z_top))."""
        return float(self.steps[-1])

    @property
    def misfit(self) -> float:
        """KL(q(x) ‖ p(x)): how wrong the model is."""
        return float(self.marginals[0])

    @property
    def looseness(self) -> float:
        """E KL(q(z | x) ‖ p(z | x)): how far the bound is from log p(x) (Eq. 2.7)."""
        return float(self.loosenesses.sum())

    @property
    def bound(self) -> float:
        """E[−VLB]."""
        return self.entropy + self.excess


def assemble(entropy: float, steps: list[float], loosenesses: list[float], marginals: list[float]) -> Parts:
    """A `Parts` of numbers, data first."""
    return Parts(entropy, *(torch.tensor(values, dtype=torch.float64) for values in (steps, loosenesses, marginals)))
