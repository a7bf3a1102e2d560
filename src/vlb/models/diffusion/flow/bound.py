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

    sums: over all calls of `terms` so far, `calls`, network `evaluations`, `examples` and their `error` by the solver,
    nats.
    """

    flow: Flow
    dequantisation: Dequantisation = DIFFUSED
    sums: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def evaluations(self) -> float | None:
        """Network evaluations per example and draw, both solves together; None before there was any."""
        return self._mean("evaluations", "calls")

    @property
    def solver_error(self) -> float | None:
        """By how much two solvers differ on an example in the mean, nats: about the error of the one that is not stated
        and is the worse one. None before there was any."""
        return self._mean("error", "examples")

    def _mean(self, of: str, over: str) -> float | None:
        return self.sums.get(of, 0) / self.sums[over] if self.sums.get(over) else None

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
        density = self.flow.checked(z, condition, generator)
        error = float(density.error.sum())
        found = {"calls": 1, "evaluations": density.evaluations, "examples": len(x), "error": error}
        self.sums.update({name: self.sums.get(name, 0) + value for name, value in found.items()})
        return {("reconstruction",): -log_likelihood, ("dequantisation",): log_q, ("flow",): -density.log_prob}
