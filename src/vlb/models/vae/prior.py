"""Priors of the top latent other than N(0, I), made of the encoder's own posteriors."""

import torch
from torch import Tensor, nn

from vlb.core.distributions import Distribution, MixtureOfNormals
from vlb.models.vae.generative import normal


class VampPrior(nn.Module):
    """p(z) = (1/J) Σ_j q(z | u_j), with q the encoder's own and u_j learned (Tomczak & Welling 2018).

    encode: from an encoder's input to the 2C numbers of q(z | u); inputs: u_j, (J, *shape). Where they are training
    examples and stay it, this is their aggregate posterior (Eq. 2.35).
    """

    def __init__(self, encode: nn.Module, inputs: Tensor) -> None:
        super().__init__()
        self.inputs = nn.Parameter(inputs.clone())
        # The encoder belongs to the model: registered here, too, it would be in checkpoints twice.
        self._encode = (encode,)

    def forward(self, like: Tensor) -> Distribution:
        q = normal(self._encode[0](self.inputs))
        return MixtureOfNormals(torch.zeros(len(self.inputs)).to(q.mean), q.mean, q.log_variance, len(like))
