"""The bound on −log p(x) of the probability-flow model, to be evaluated like any other."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vlb.core.condition import Condition
from vlb.core.terms import BoundKind, TermPath
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.flow.dequantisation import DIFFUSED, Dequantisation


@dataclass(frozen=True, eq=False)
class FlowBound:
    """E_q[log q(z_0 | x) − log p(x | z_0) − log p_ODE(z_0)] ≥ −log p_ODE(x), by one draw of z_0 and of probes.

    evaluations: the network evaluations of each solve so far, which every call of `terms` adds to.
    """

    flow: Flow
    dequantisation: Dequantisation = DIFFUSED
    evaluations: list[int] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.flow.model.shape

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that the model takes."""
        return self.flow.model.takes

    @property
    def bound(self) -> BoundKind:
        """What the sum of `terms` is."""
        how = f" of the probability-flow ODE, a model of its own: {self.dequantisation}, {self.flow}"
        return BoundKind("bound on", how)

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """One draw of `reconstruction` −log p(x | z_0), `dequantisation` log q(z_0 | x) and `flow` −log p_ODE(z_0).

        (batch,) nats each; the last two are log-densities, of which only the sum is free of units.
        """
        self.flow.model.check_condition(condition)
        z, log_q, log_likelihood = self.dequantisation(self.flow.model, x, self.flow.start, condition, generator)
        density = self.flow.log_prob(z, condition, generator)
        self.evaluations.append(density.evaluations)
        return {("reconstruction",): -log_likelihood, ("dequantisation",): log_q, ("flow",): -density.log_prob}
