"""Priors of the top latent other than N(0, I), made of the encoder's own posteriors."""

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.core.distributions import Distribution, MixtureOfNormals
from vlb.core.initial import Examples
from vlb.core.likelihoods import Likelihood
from vlb.models.vae.generative import normal


class VampPrior(nn.Module):
    """p(z) = (1/J) Σ_j q(z | u_j), with q the encoder's own and u_j learned (Tomczak & Welling 2018).

    encode: from an encoder's input to the 2C numbers of q(z | u); inputs: u_j, (J, *shape); likelihood: how data
    become an encoder's input. The inputs start as training examples; where they stay it, this is their aggregate
    posterior (Eq. 2.35).
    """

    def __init__(self, encode: nn.Module, inputs: Tensor, likelihood: nn.Module | None = None) -> None:
        super().__init__()
        self.inputs = nn.Parameter(inputs.clone())
        # Encoder and likelihood belong to the model: registered here, too, they would be in checkpoints twice.
        self._encode, self._likelihood = (encode,), (likelihood,)

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """Examples as inputs, the same ones each time. Raises `UserError` where there are not as many."""
        count, (likelihood,) = len(self.inputs), self._likelihood
        if count > len(data.x):
            raise UserError(
                f"a prior of {count} training examples needs between 1 and the {len(data.x)} that there are: give fewer"
            )
        index = np.random.default_rng(0).choice(len(data.x), count, replace=False)
        typed: Likelihood = likelihood  # type: ignore[assignment]
        self.inputs.copy_(typed.embed(torch.from_numpy(np.ascontiguousarray(data.x[index]))).float())

    def forward(self, like: Tensor) -> Distribution:
        q = normal(self._encode[0](self.inputs))
        return MixtureOfNormals(torch.zeros(len(self.inputs)).to(q.mean), q.mean, q.log_variance, len(like))
