"""Configurations of p(z) of a VAE, beside N(0, I) those of Section 2.5 that leave no holes."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from vlb.base.checks import positive
from vlb.base.configuration import Family
from vlb.core.schema import Schema
from vlb.models.vae.generative import Prior, standard_prior
from vlb.models.vae.prior import VampPrior


@dataclass(frozen=True, kw_only=True)
class StandardPriorConfig:
    """N(0, I)."""

    def build(self, encoder: nn.Module, likelihood: nn.Module, schema: Schema) -> Prior:
        return standard_prior


@dataclass(frozen=True, kw_only=True)
class VampPriorConfig:
    """A mixture of the encoder's posteriors of `inputs` learned pseudo-inputs, which start as training examples."""

    inputs: int = 50

    def build(self, encoder: nn.Module, likelihood: nn.Module, schema: Schema) -> Prior:
        return VampPrior(encoder, _room("inputs", self.inputs, schema), likelihood)


@dataclass(frozen=True, kw_only=True)
class AggregatePriorConfig:
    """The aggregate posterior of `examples` training examples (Eq. 2.35), which the model then is defined by.

    A bound under it is one for data that are not among them.
    """

    examples: int = 500

    def build(self, encoder: nn.Module, likelihood: nn.Module, schema: Schema) -> Prior:
        return VampPrior(encoder, _room("examples", self.examples, schema), likelihood).requires_grad_(False)


PRIORS = Family(
    "prior",
    {
        "standard": StandardPriorConfig,
        "vamp": VampPriorConfig,
        "aggregate": AggregatePriorConfig,
    },
)

PriorConfig = Annotated[StandardPriorConfig | VampPriorConfig | AggregatePriorConfig, PRIORS]


def _room(name: str, count: int, schema: Schema) -> Tensor:
    """Place for `count` examples as an encoder sees them."""
    positive(name, count)
    return torch.zeros(count, *schema.shape)
