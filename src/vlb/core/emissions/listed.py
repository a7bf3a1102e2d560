"""A law over listed levels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlb.core.distributions import Categorical
from vlb.core.emissions.base import Components, Mixed


@dataclass(frozen=True)
class Listed(Categorical, Mixed):
    """A categorical over levels that are embedded as `values`, (K,), or (*shape, K) where elements differ."""

    values: Tensor

    @property
    def components(self) -> Components:
        """A point at each value."""
        return Components(self.logits, self.values, torch.full_like(self.values[..., :1], -torch.inf))

    @property
    def mean(self) -> Tensor:
        """Of the embedded x, (batch, *shape)."""
        mean: Tensor = _SoftmaxMean.apply(self.logits, self.values)
        return mean

    @property
    def variance(self) -> Tensor:
        """Of the embedded x, (batch, *shape)."""
        # Centred before squaring: the difference of moments would cancel where x is nearly known.
        deviation = self.values - self.mean.unsqueeze(-1)
        return (self.logits.softmax(-1) * deviation**2).sum(-1)

    def given(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> "Listed":
        """p(x = k) N(z; α v_k, σ²), up to a constant."""
        # (z − α v)/σ is squared as it is, for the expanded square would cancel at high SNR; and all in as few passes
        # over the levels as there can be.
        away = (z / sigma.to(z.dtype)).unsqueeze(-1) - (alpha / sigma).to(z.dtype).unsqueeze(-1) * self.values
        return Listed(torch.addcmul(self.logits, away, away, value=-0.5), self.values)


class _SoftmaxMean(torch.autograd.Function):
    """Σ_k v_k softmax(logits)_k in two passes over the logits each way, where autograd takes six."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, logits: Tensor, values: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        mean = probabilities @ values if values.ndim == 1 else (probabilities * values).sum(-1)
        ctx.save_for_backward(probabilities, values, mean)
        return mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        probabilities, values, mean = ctx.saved_tensors  # type: ignore[attr-defined]
        return probabilities * (grads[0].unsqueeze(-1) * (values - mean.unsqueeze(-1))), None
