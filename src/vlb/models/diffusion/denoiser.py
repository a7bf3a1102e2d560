"""Denoisers: a backbone and a head that turns its output into x̂, ε̂ and p(x | z_t).

The backbone is any `nn.Module` called as `backbone(z, gamma, condition)` with z (batch, *shape),
γ (batch, 1) or (batch, D) in float64 and a `Condition`; it returns (batch, *shape, outputs) with the
`outputs` its head asks for. Its attribute `takes` names the parts of a condition that it takes, `frozenset({"label"})`
where it has none. A head knows z, α and σ, so it can use them exactly:

* `RegressionHead`: out = a·x + b·ε for a chosen (a, b), Section 4.1.
* `PosteriorHead`: the output is a prior over each element's K levels *given the other elements*;
  multiplied by the known Gaussian likelihood of z it gives p(x | z_t), whose mean is x̂. With zero
  output the model is the independent-element model, exactly.
* `MixturePosteriorHead`: the same in closed form with a mixture of Gaussians per element, for data
  with too many levels to list.

Each is built from a frozen configuration beside it: `Regression`, `Posterior`, `Mixture`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vlb.base.checks import positive
from vlb.base.errors import UserError
from vlb.core import marginals
from vlb.core.condition import LABEL, UNCONDITIONAL, Condition
from vlb.core.distributions import Categorical, DiscretisedMixture, Distribution
from vlb.core.initial import Examples
from vlb.core.observation import Levels, deviations
from vlb.core.schema import Schema
from vlb.models.diffusion.parameterization import PARAMETERIZATIONS, Parameterization, Velocity, solve
from vlb.models.diffusion.process import Scaling, along
from vlb.nn.backbones import Backbone


class Prediction(NamedTuple):
    """x̂ and ε̂ (batch, *shape), and the head's p(x | z_t) where it has one."""

    x: Tensor
    eps: Tensor
    data: Distribution | None


class Head(Protocol):
    """Turns a backbone's output (batch, *shape, outputs) into a `Prediction`."""

    @property
    def outputs(self) -> int: ...

    def __call__(self, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction: ...


class Denoises(Protocol):
    """What a diffusion model asks of its denoiser: z (batch, *shape), γ (batch or 1, 1 or D) -> `Prediction`."""

    @property
    def decodes(self) -> bool:
        """Whether predictions carry p(x | z_t), which then serves as the decoder at t = 0."""

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it takes: a model refuses the others."""

    def __call__(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction: ...


def taken_by(backbone: nn.Module) -> frozenset[str]:
    """The parts of a condition that a backbone takes: its `takes`, or the label where it does not say."""
    takes: frozenset[str] = getattr(backbone, "takes", LABEL)
    return takes


@runtime_checkable
class Headed(Protocol):
    """A denoiser whose head can be asked with any output of its network, that of `ask` or another."""

    @property
    def outputs(self) -> int:
        """Of the network, per element."""

    def ask(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """The network's output, (batch, *shape, outputs)."""

    def read(self, out: Tensor, z: Tensor, gamma: Tensor) -> Prediction:
        """What the head makes of an output at z."""


class Denoiser(nn.Module):
    """A backbone with a head, under the scaling it is trained for."""

    def __init__(self, backbone: nn.Module, head: Head, scaling: Scaling) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.scaling = scaling

    @property
    def outputs(self) -> int:
        """Of the network, per element."""
        return self.head.outputs

    @property
    def decodes(self) -> bool:
        """Whether the head gives p(x | z_t); one output per element is plain regression, which does not."""
        return self.head.outputs > 1

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that the backbone takes."""
        return taken_by(self.backbone)

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """z (batch, *shape), γ (batch or 1, 1 or D) -> `Prediction`."""
        return self.read(self.ask(z, gamma, condition), z, gamma)

    def ask(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Tensor:
        """The backbone's output (batch, *shape, outputs), which is all that a prediction costs."""
        return self.backbone(z, gamma.expand(z.shape[0], -1), condition).to(z.dtype)

    def read(self, out: Tensor, z: Tensor, gamma: Tensor) -> Prediction:
        """What the head makes of an output at z: that of `ask` at the same z, or any other."""
        alpha, sigma = self.scaling(along(gamma, z))
        # A head's own arithmetic keeps its precision: an x̂ rounded to bfloat16 is off by half a level of 256.
        with torch.autocast(z.device.type, enabled=False):
            return self.head(out, z, alpha, sigma)


class Transported(nn.Module):
    """A denoiser of one scaling, asked in another: z^A = (α^A/α^B) z^B at equal SNR (A.45, A.47).

    x̂, ε̂ and p(x | z_t) are of x and ε, which no scaling touches, so they are handed on as they are.
    """

    def __init__(self, denoiser: Denoises, own: Scaling, asked: Scaling) -> None:
        """own: the scaling A that `denoiser` was trained in; asked: the scaling B of the z it is given."""
        super().__init__()
        self.denoiser = denoiser
        self.own, self.asked = own, asked

    @property
    def decodes(self) -> bool:
        return self.denoiser.decodes

    @property
    def takes(self) -> frozenset[str]:
        return self.denoiser.takes

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """z (batch, *shape), γ (batch or 1, 1 or D) -> `Prediction`."""
        own, asked = (scaling(along(gamma, z))[0] for scaling in (self.own, self.asked))
        return self.denoiser((own / asked).to(z.dtype) * z, gamma, condition)


class RegressionHead(nn.Module):
    """Plain regression on a·x + b·ε."""

    outputs = 1

    def __init__(self, parameterization: Parameterization) -> None:
        super().__init__()
        self.parameterization = parameterization

    def forward(self, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
        x, eps = solve(self.parameterization, out.squeeze(-1), z, alpha, sigma)
        return Prediction(x, eps, None)


class PosteriorHead(nn.Module):
    """p(x = v_k | z_t) ∝ softmax(out + bias)_k · N(z_t; α v_k, σ²), per element.

    log_marginals: (D, K), the initial bias; a backbone whose output starts at zero then starts as the
    model of independent elements, whose bound is known.
    """

    def __init__(self, levels: Levels, log_marginals: Tensor) -> None:
        super().__init__()
        self.levels = levels
        self.bias = nn.Parameter(log_marginals.float())

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """The untrained model is that of independent elements."""
        self.bias.copy_(torch.from_numpy(marginals.log_marginals(data.x, self.levels.count)))

    @property
    def outputs(self) -> int:
        return self.levels.count

    def forward(self, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
        values = self.levels.values(z)
        bias = self.bias.view(*z.shape[1:], -1)
        # out + bias + log N(z; αv, σ²), in as few passes over all levels as there can be.
        away = deviations(z, values, alpha, sigma)
        logits = torch.addcmul(out + bias, away, away, value=-0.5)
        x = _SoftmaxMean.apply(logits, values)
        eps = (z - alpha.to(z.dtype) * x) / sigma.to(z.dtype)
        return Prediction(x, eps, Categorical(logits))


class _SoftmaxMean(torch.autograd.Function):
    """Σ_k v_k softmax(logits)_k in two passes over the logits each way, where autograd takes six."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, logits: Tensor, values: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        mean = probabilities @ values
        ctx.save_for_backward(probabilities, values, mean)
        return mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        probabilities, values, mean = ctx.saved_tensors  # type: ignore[attr-defined]
        return probabilities * (grads[0].unsqueeze(-1) * (values - mean.unsqueeze(-1))), None


class MixturePosteriorHead(nn.Module):
    """A mixture of M Gaussians per element as the prior given the other elements.

    Each component N(m, s²) times N(z; αx, σ²) is Gaussian again, and its weight is multiplied by
    N(z; αm, α²s² + σ²). p(x | z_t) is the resulting mixture integrated over the bins of the K levels.
    """

    def __init__(self, levels: Levels, components: int, mean: Tensor, std: Tensor) -> None:
        """mean, std: (D,) of the embedded data; the components start spread over ±1.5 std."""
        super().__init__()
        self.levels = levels
        self.components = components
        self.bias = nn.Parameter(self._spread(mean, std))

    def _spread(self, mean: Tensor, std: Tensor) -> Tensor:
        spread = torch.linspace(-1.5, 1.5, self.components) if self.components > 1 else torch.zeros(1)
        start_mean = mean.float().unsqueeze(-1) + std.float().unsqueeze(-1) * spread
        start_std = std.float().clamp(min=1.0 / self.levels.count).log().unsqueeze(-1).expand_as(start_mean)
        return torch.stack((torch.zeros_like(start_mean), start_mean, start_std), -1)

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """The untrained mixture is spread about each element's mean."""
        mean, std = marginals.moments(data.x)
        embedded = self.levels.embed(torch.from_numpy(mean))
        self.bias.copy_(self._spread(embedded, torch.from_numpy(std) * (2 / self.levels.count)))

    @property
    def outputs(self) -> int:
        return 3 * self.components

    def forward(self, out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
        raw = out.unflatten(-1, (self.components, 3)) + self.bias.view(*z.shape[1:], self.components, 3)
        log_weights, means, log_stds = raw.unbind(-1)
        # A component narrower than a tenth of a bin gains nothing and costs precision.
        variances = torch.exp(2 * log_stds) + (0.2 / self.levels.count) ** 2
        z_, a = z.unsqueeze(-1), alpha.to(z.dtype).unsqueeze(-1)
        noise = sigma.to(z.dtype).unsqueeze(-1) ** 2
        total = a**2 * variances + noise
        error = z_ - a * means
        posterior_means = means + a * variances / total * error
        posterior_log_stds = 0.5 * (variances * noise / total).log()
        posterior_weights = log_weights - 0.5 * (error**2 / total + total.log())
        x = (posterior_weights.softmax(-1) * posterior_means).sum(-1)
        eps = (z - alpha.to(z.dtype) * x) / sigma.to(z.dtype)
        return Prediction(
            x, eps, DiscretisedMixture(posterior_weights, posterior_means, posterior_log_stds, self.levels.count)
        )


class HeadChoice(ABC):
    """The configuration of a head."""

    @abstractmethod
    def build(self, schema: Schema) -> Head:
        """The untrained head, a module."""

    def denoiser(self, backbone: Backbone, schema: Schema, classes: int, scaling: Scaling) -> Denoiser:
        """The denoiser on a backbone; classes: the number of labels, 0 for none."""
        made = self.build(schema)
        return Denoiser(backbone.build(schema.shape, made.outputs, classes), made, scaling)


@dataclass(frozen=True, kw_only=True)
class Posterior(HeadChoice):
    """Logits per level, multiplied by the likelihood of z."""

    def build(self, schema: Schema) -> PosteriorHead:
        if schema.levels > 256:
            raise UserError(f"a posterior head lists every level, too many at {schema.levels}: use head=mixture")
        return PosteriorHead(Levels(schema.levels), torch.zeros(schema.dimensions, schema.levels))


@dataclass(frozen=True, kw_only=True)
class Mixture(HeadChoice):
    """A mixture of Gaussians per element, multiplied by the likelihood of z; for any number of levels."""

    components: int = 5

    def build(self, schema: Schema) -> MixturePosteriorHead:
        positive("components", self.components)
        zeros = torch.zeros(schema.dimensions)
        return MixturePosteriorHead(Levels(schema.levels), self.components, zeros, zeros)


@dataclass(frozen=True, kw_only=True)
class Regression(HeadChoice):
    """Plain regression on x, ε, v, the score, the flow u or EDM's F."""

    output: Annotated[Any, PARAMETERIZATIONS] = field(default_factory=Velocity)

    def build(self, schema: Schema) -> RegressionHead:
        return RegressionHead(self.output)
