"""Transforms of a denoiser that are denoisers again: guidance, clipping, snapping to levels.

They compose: `Clipped(Guided(denoiser, 2.0), …)` clips what guidance overshoots. `transformed` puts one into
a model. A changed x̂ changes ε̂ with it, so that αx̂ + σε̂ = z throughout.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from vlb.base.errors import UserError
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.core.emissions import Centres, Mixed
from vlb.models.diffusion.denoiser import Denoises, Prediction, Transform
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import Scaling, along


class Guided(Transform):
    """Classifier-free guidance (Ho & Salimans 2022): ε̂ = ε̂(z) + w (ε̂(z, y) − ε̂(z)), and x̂ alike.

    It needs a denoiser that knows both p(x | y) and p(x), the latter as labels of −1. w = 0 is the unconditional
    model, w = 1 the conditional one, w > 1 the score of q(z | y)^w q(z)^{1−w}, which is q(z_t) of no data: guided
    samples have no bound. p(x | z_0) stays the conditional one. Two evaluations instead of one.
    """

    def __init__(self, denoiser: Denoises, scale: float) -> None:
        super().__init__(denoiser)
        self.scale = scale

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """Raises `UserError` where the condition has no label."""
        if condition.label is None:
            raise UserError("guidance strengthens a class label, and none was given: condition on a label")
        given = self.denoiser(z, gamma, condition)
        free = self.denoiser(z, gamma, replace(condition, label=torch.full_like(condition.label, -1)))
        # lerp is exact at both ends: w = 1 changes no bit.
        return Prediction(
            torch.lerp(free.x, given.x, self.scale), torch.lerp(free.eps, given.eps, self.scale), given.law
        )


class Clipped(Transform):
    """x̂ clipped to [low, high], the range of the data."""

    def __init__(self, denoiser: Denoises, scaling: Scaling, low: float | Tensor, high: float | Tensor) -> None:
        """low, high: of all elements, or of each. Raises `UserError` unless low ≤ high, and somewhere less."""
        super().__init__(denoiser)
        ends = torch.as_tensor(low, dtype=torch.float64), torch.as_tensor(high, dtype=torch.float64)
        if not (bool((ends[0] <= ends[1]).all()) and bool((ends[0] < ends[1]).any())):
            raise UserError(f"a range to clip to needs low < high, not {low} and {high}")
        self.scaling, (self.low, self.high) = scaling, ends

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        prediction = self.denoiser(z, gamma, condition)
        return _with_x(prediction, prediction.x.clamp(self.low.to(z), self.high.to(z)), z, gamma, self.scaling)


class Snapped(Transform):
    """x̂ moved to a level of the data: the likeliest under the head's p(x | z_t), else the nearest to x̂.

    The clamping of Li et al. (2022, Diffusion-LM). A mean of levels is the better estimate; a level commits.
    """

    def __init__(self, denoiser: Denoises, scaling: Scaling, centres: Centres) -> None:
        super().__init__(denoiser)
        self.scaling, self.centres = scaling, centres

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        prediction = self.denoiser(z, gamma, condition)
        law = prediction.law
        level = law.mode() if isinstance(law, Mixed) else self.centres.nearest(prediction.x)
        return _with_x(prediction, self.centres.values(z)[level], z, gamma, self.scaling)


class Told(Transform):
    """The same denoiser, which says how many latents it was asked about each time: for a bar."""

    def __init__(self, denoiser: Denoises, tell: Callable[[int], None]) -> None:
        super().__init__(denoiser)
        self.tell = tell

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        prediction = self.denoiser(z, gamma, condition)
        self.tell(len(z))
        return prediction


def clip_to_levels(model: DiffusionModel) -> Clipped:
    """The model's denoiser, clipped to its outermost levels. Raises `UserError` where its data have none."""
    if not isinstance(model.embedding, Centres):
        raise UserError("only data with levels have a range to clip to: name one with Clipped(denoiser, …, low, high)")
    values = model.embedding.values(torch.zeros(1, dtype=torch.float64, device=model.device))
    low, high = values.amin(-1), values.amax(-1)
    return Clipped(model.denoiser, model.process.scaling, low, high)


def transformed(model: DiffusionModel, denoiser: Denoises) -> DiffusionModel:
    """The model with another denoiser; all else is shared."""
    return model.made_of(model.process, denoiser, model.prior)


def _with_x(prediction: Prediction, x: Tensor, z: Tensor, gamma: Tensor, scaling: Scaling) -> Prediction:
    """The prediction with another x̂; where that is the same, ε̂ keeps the digits that division by σ would cost."""
    alpha, sigma = scaling(along(gamma, z))
    eps = (z - alpha.to(z.dtype) * x) / sigma.to(z.dtype)
    return Prediction(x, torch.where(x == prediction.x, prediction.eps, eps), prediction.law)
