"""A head for networks that were trained in discrete time: told the number of a step in place of a noise level, and z of
an x that runs from −1 to 1, both included.

vlb's levels are the centres of bins of [−1, 1], so that the network's x is cx with c = K/(K − 1), and its noise level
γ + 2 log c. Such networks regress, and say nothing of p(x | z_t). The variance that serves a bound best is the mean
squared error of x̂ (Bao et al. 2022): it is measured on training examples, at noise levels between the first step and
the last, and p(x | z_t) is a Gaussian of that variance about x̂, integrated over the bins.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.distributions import standard_normal
from vlb.core.emissions import Centres, DiscretisedMixture
from vlb.core.initial import Examples
from vlb.core.schema import Schema
from vlb.models.diffusion.denoiser import Denoiser, HeadChoice, Network, Prediction
from vlb.models.diffusion.parameterization import PARAMETERIZATIONS, Noise, Parameterization, solve
from vlb.models.diffusion.process import VP, Scaling, along
from vlb.models.diffusion.schedules import AnySteps, LinearSteps, NumberedSteps

KNOTS, EXAMPLES = 17, 64  # noise levels at which errors are measured, and examples at each
USUAL = VP()


class NumberedDenoiser(Denoiser):
    """out = a·x + b·ε of a network that is told the number of a step; p(x | z_t) is as wide as x̂ is off."""

    decodes = True

    def __init__(
        self,
        backbone: nn.Module,
        parameterization: Parameterization,
        steps: NumberedSteps,
        centres: Centres,
        scaling: Scaling,
    ) -> None:
        super().__init__(backbone, scaling)
        self.parameterization, self.steps, self.centres = parameterization, steps, centres
        self.register_buffer("log_deviations", torch.zeros(KNOTS))

    @torch.no_grad()
    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """Measure how far off x̂ is on up to `EXAMPLES` examples, spread evenly over them."""
        chosen = np.unique(np.linspace(0, len(data.x) - 1, EXAMPLES).astype(int))
        device = self.get_buffer("log_deviations").device
        x = self.centres.embed(torch.from_numpy(np.ascontiguousarray(data.x[chosen]))).to(device)
        labels = None if data.labels is None else torch.from_numpy(data.labels[chosen].astype(np.int64)).to(device)
        condition = Condition(label=labels) if "label" in self.takes else UNCONDITIONAL
        was = self.training
        self.eval()
        for knot, own in enumerate(self._knots()):
            gamma = (own - 2 * math.log(self.reach)).view(1, 1).to(device)
            alpha, sigma = self.scaling(along(gamma, x))
            z = alpha.to(x.dtype) * x + sigma.to(x.dtype) * standard_normal(x.shape, generator, x)
            error = (self(z, gamma, condition).x - x).double().square().mean().sqrt()
            self.get_buffer("log_deviations")[knot] = error.clamp(min=1e-6).log()
        self.train(was)

    @property
    def reach(self) -> float:
        """c: the network's x over ours."""
        return self.centres.count / (self.centres.count - 1)

    def output_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """One number per element."""
        return (*latent, 1)

    def ask(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """The backbone's output (batch, *latent, 1) about its own z, at the number of a step."""
        own = gamma + 2 * math.log(self.reach)
        sigma, of_network = (s(along(g, z))[1] for s, g in ((self.scaling, gamma), (USUAL, own)))
        number = self.steps.number(own.mean(-1, keepdim=True))
        return super().ask((of_network / sigma).to(z.dtype) * z, number, condition)

    def prediction(self, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
        own = 2 * (sigma / alpha).log() + 2 * math.log(self.reach)
        a, s = USUAL(own)
        x, eps = solve(self.parameterization, out.squeeze(-1), (s / sigma).to(z.dtype) * z, a, s)
        x = x / self.reach
        variance = (2 * self._log_deviation(own)).exp().to(x.dtype).expand_as(x)
        law = DiscretisedMixture(
            torch.zeros_like(x).unsqueeze(-1), x.unsqueeze(-1), variance.unsqueeze(-1), self.centres
        )
        return Prediction(x, eps, law)

    def _knots(self) -> Tensor:
        return torch.linspace(float(self.steps.table[0]), float(self.steps.table[-1]), KNOTS, dtype=torch.float64)

    def _log_deviation(self, own: Tensor) -> Tensor:
        """The logarithm of the deviation at noise levels of the network, between those at the knots: like `own`."""
        knots, values = self._knots().to(own.device), self.get_buffer("log_deviations").to(own.device).double()
        place = ((own - knots[0]) / (knots[-1] - knots[0]) * (KNOTS - 1)).clamp(0, KNOTS - 1)
        below = place.floor().clamp(max=KNOTS - 2).long()
        return torch.lerp(values[below], values[below + 1], place - below)


@dataclass(frozen=True, kw_only=True)
class Numbered(HeadChoice):
    """Regression by a network that is told the number of one of the `steps` that it was trained on."""

    output: Annotated[Parameterization, PARAMETERIZATIONS] = field(default_factory=Noise)
    steps: AnySteps = field(default_factory=LinearSteps)

    def denoiser(self, network: Network, schema: Schema, scaling: Scaling) -> tuple[NumberedDenoiser, Centres]:
        centres = Centres.of(schema)
        backbone = network(schema.shape, (*schema.shape, 1))
        return NumberedDenoiser(backbone, self.output, self.steps, centres, scaling), centres
