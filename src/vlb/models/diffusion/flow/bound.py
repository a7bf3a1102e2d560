"""The bound on −log p(x) of the probability-flow model, to be evaluated like any other."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.core.condition import Condition
from vlb.core.terms import BoundKind, TermPath
from vlb.models.diffusion.flow.density import Flow
from vlb.models.diffusion.flow.dequantisation import DIFFUSED, Dequantisation


@dataclass(frozen=True, eq=False)
class FlowBound:
    """E_q[log q(z_0 | x) − log p(x | z_0) − log p_ODE(z_0)] ≥ −log p_ODE(x), by one draw of z_0 and of probes."""

    flow: Flow
    dequantisation: Dequantisation = DIFFUSED

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
        return self.observed(x, condition, generator)[0]

    def observed(
        self, x: Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[dict[TermPath, Tensor], dict[str, float]]:
        """`terms`, and of this call: `calls`, 1; network `evaluations` of both solves; `examples` and the sum of their
        `error`, nats: by how much two solvers differ, about the error of the one that is not stated and is worse."""
        self.flow.model.check_condition(condition)
        z, log_q, log_likelihood = self.dequantisation(self.flow.model, x, self.flow.start, condition, generator)
        density = self.flow.checked(z, condition, generator)
        terms: dict[TermPath, Tensor] = {
            ("reconstruction",): -log_likelihood,
            ("dequantisation",): log_q,
            ("flow",): -density.log_prob,
        }
        error = float(density.error.sum())
        return terms, {"calls": 1, "evaluations": density.evaluations, "examples": len(x), "error": error}
