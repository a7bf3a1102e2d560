"""Configurations of p(z) of a VAE, beside N(0, I) those of Section 2.5 that leave no holes."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.core.likelihoods import Likelihood
from vlb.data import Dataset
from vlb.models.vae.generative import Prior, standard_prior
from vlb.models.vae.prior import VampPrior


@dataclass(frozen=True, kw_only=True)
class StandardPriorConfig:
    """N(0, I)."""

    def build(self, encoder: nn.Module, likelihood: nn.Module, data: Dataset) -> Prior:
        return standard_prior


@dataclass(frozen=True, kw_only=True)
class VampPriorConfig:
    """A mixture of the encoder's posteriors of `inputs` learned pseudo-inputs, which start as training examples."""

    inputs: int = 50

    def build(self, encoder: nn.Module, likelihood: nn.Module, data: Dataset) -> Prior:
        return VampPrior(encoder, _drawn("inputs", self.inputs, likelihood, data))


@dataclass(frozen=True, kw_only=True)
class AggregatePriorConfig:
    """The aggregate posterior of `examples` training examples (Eq. 2.35), which the model then is defined by.

    A bound under it is one for data that are not among them.
    """

    examples: int = 500

    def build(self, encoder: nn.Module, likelihood: nn.Module, data: Dataset) -> Prior:
        return VampPrior(encoder, _drawn("examples", self.examples, likelihood, data)).requires_grad_(False)


PRIORS = Family(
    "prior",
    {
        "standard": StandardPriorConfig,
        "vamp": VampPriorConfig,
        "aggregate": AggregatePriorConfig,
    },
)

PriorConfig = Annotated[StandardPriorConfig | VampPriorConfig | AggregatePriorConfig, PRIORS]


def _drawn(name: str, count: int, likelihood: nn.Module, data: Dataset) -> Tensor:
    """`count` training examples as an encoder sees them."""
    if not 1 <= count <= len(data.train):
        raise UserError(f"{name} must be between 1 and the {len(data.train)} training examples, not {count}")
    index = np.random.default_rng(0).choice(len(data.train), count, replace=False)
    typed: Likelihood = likelihood  # type: ignore[assignment]
    return typed.embed(torch.from_numpy(np.ascontiguousarray(data.train.x[index]))).float()
