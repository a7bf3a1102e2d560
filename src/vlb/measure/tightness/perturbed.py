"""Denoisers that are wrong in a known way."""

from torch import Tensor

from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.models.diffusion.denoiser import Denoises, Prediction, Transform
from vlb.models.diffusion.process import Scaling, along


class Perturbed(Transform):
    """ε̂ = (I + W) ε̂₀ of another denoiser, and x̂ = (z − σ ε̂)/α with it.

    With ε̂₀ exact, W = δI is a score too steep by δ, as guidance makes it; an antisymmetric W turns the score, so that
    it is no gradient. p(x | z_t), where the denoiser has it, is left alone: the decoder stays as it was.
    """

    def __init__(self, denoiser: Denoises, error: Tensor, scaling: Scaling) -> None:
        """error: W, (D, D), over flattened z."""
        super().__init__(denoiser)
        self.scaling = scaling
        self.register_buffer("error", error.double())

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
        """z (batch, *shape), γ (batch or 1, 1) -> `Prediction`."""
        prediction = self.denoiser(z, gamma, condition)
        alpha, sigma = self.scaling(along(gamma, z))
        change = (prediction.eps.double().flatten(1) @ self.get_buffer("error").mT).view_as(z)
        x = prediction.x - (sigma / alpha * change).to(z.dtype)
        return Prediction(x, prediction.eps + change.to(z.dtype), prediction.law)
