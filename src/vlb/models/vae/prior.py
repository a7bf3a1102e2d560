"""Priors p(z) of a VAE: beside N(0, I) those of Section 2.5 that leave no holes, made of the encoder's own posteriors.

Each is a frozen configuration under the tag of `PRIORS`, built with the encoder of its model and what this reads.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.configuration import Family
from vlb.base.domains import Count, Settings
from vlb.base.errors import UserError
from vlb.core.distributions import Distribution, MixtureOfNormals
from vlb.core.initial import Examples
from vlb.models.vae.generative import Prior, normal, standard_prior
from vlb.models.vae.reading import Reading


class VampPrior(nn.Module):
    """p(z) = (1/J) Σ_j q(z | u_j), with q the encoder's own and u_j learned (Tomczak & Welling 2018).

    encode: from an encoder's input to the 2C numbers of q(z | u); inputs: u_j, (J, *shape); reading: how data become
    an encoder's input. The inputs start as training examples; where they stay it, this is their aggregate posterior
    (Eq. 2.35).
    """

    def __init__(self, encode: nn.Module, inputs: Tensor, reading: Reading | None = None) -> None:
        super().__init__()
        self.inputs = nn.Parameter(inputs.clone())
        # The encoder belongs to the model: registered here, too, it would be in checkpoints twice.
        self._encode, self._reading = (encode,), reading

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """Examples as inputs, the same ones each time. Raises `UserError` where there are not as many."""
        count, reading = len(self.inputs), self._reading
        if reading is None:
            raise ValueError("inputs become training examples where the reading is given")
        if count > len(data.x):
            raise UserError(
                f"a prior of {count} training examples needs between 1 and the {len(data.x)} that there are: give fewer"
            )
        index = np.random.default_rng(0).choice(len(data.x), count, replace=False)
        there = None if data.observed is None else torch.from_numpy(data.observed[index])
        self.inputs.copy_(reading(torch.from_numpy(np.ascontiguousarray(data.x[index])), there).float())

    def forward(self, like: Tensor) -> Distribution:
        q = normal(self._encode[0](self.inputs))
        return MixtureOfNormals(torch.zeros(len(self.inputs)).to(q.mean), q.mean, q.log_variance, len(like))


@dataclass(frozen=True, kw_only=True)
class Standard:
    """N(0, I)."""

    def build(self, encoder: nn.Module, reading: Reading) -> Prior:
        return standard_prior


@dataclass(frozen=True, kw_only=True)
class Vamp(Settings):
    """A mixture of the encoder's posteriors of `inputs` learned pseudo-inputs, which start as training examples."""

    inputs: Count = 50

    def build(self, encoder: nn.Module, reading: Reading) -> Prior:
        return VampPrior(encoder, torch.zeros(self.inputs, *reading.shape), reading)


@dataclass(frozen=True, kw_only=True)
class Aggregate(Settings):
    """The aggregate posterior of `examples` training examples (Eq. 2.35), which the model then is defined by.

    A bound under it is one for data that are not among them.
    """

    examples: Count = 500

    def build(self, encoder: nn.Module, reading: Reading) -> Prior:
        return VampPrior(encoder, torch.zeros(self.examples, *reading.shape), reading).requires_grad_(False)


PRIORS = Family(
    "prior",
    {
        "standard": Standard,
        "vamp": Vamp,
        "aggregate": Aggregate,
    },
)

AnyPrior = Annotated[Standard | Vamp | Aggregate, PRIORS]
