"""Configurations of p(x | z): one per kind of data; each refuses data that it does not fit."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.core.likelihoods import BernoulliLikelihood, CategoricalLikelihood, DiscretisedLogisticLikelihood
from vlb.core.schema import Schema


@dataclass(frozen=True, kw_only=True)
class BernoulliConfig:
    """Binary data; the untrained decoder gives the marginals."""

    def build(self, schema: Schema) -> nn.Module:
        return BernoulliLikelihood(schema.levels, torch.zeros(schema.dimensions))


@dataclass(frozen=True, kw_only=True)
class CategoricalConfig:
    """A logit per level; the untrained decoder gives the marginals."""

    def build(self, schema: Schema) -> nn.Module:
        if schema.levels > 256:
            raise UserError(
                f"a categorical likelihood lists every level, too many at {schema.levels}: use "
                "likelihood=discretised-logistic"
            )
        return CategoricalLikelihood(torch.zeros(schema.dimensions, schema.levels))


@dataclass(frozen=True, kw_only=True)
class DiscretisedLogisticConfig:
    """A logistic over the bins of any number of levels; the untrained decoder has the mean and spread of each pixel."""

    def build(self, schema: Schema) -> nn.Module:
        means, log_scales = torch.zeros(schema.dimensions), torch.zeros(schema.dimensions)
        return DiscretisedLogisticLikelihood(schema.levels, means, log_scales)


@dataclass(frozen=True, kw_only=True)
class GaussianConfig:
    """A density; offered so that it can say why it does not fit data with levels."""

    def build(self, schema: Schema) -> nn.Module:
        raise UserError(
            f"a Gaussian likelihood is a density, and these data have {schema.levels} discrete levels: use "
            "likelihood=categorical or discretised-logistic (in Python, "
            "`vlb.core.likelihoods.GaussianLikelihood` serves real data)"
        )


LIKELIHOODS = Family(
    "likelihood",
    {
        "bernoulli": BernoulliConfig,
        "categorical": CategoricalConfig,
        "discretised-logistic": DiscretisedLogisticConfig,
        "gaussian": GaussianConfig,
    },
)

LikelihoodConfig = Annotated[
    BernoulliConfig | CategoricalConfig | DiscretisedLogisticConfig | GaussianConfig, LIKELIHOODS
]
