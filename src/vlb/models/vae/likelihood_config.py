"""Configurations of p(x | z): one per kind of data; each refuses data that it does not fit."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import nn

from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.core.likelihoods import BernoulliLikelihood, CategoricalLikelihood, DiscretisedLogisticLikelihood
from vlb.data import Dataset
from vlb.data.baselines import log_marginals
from vlb.data.dataset import chunks


@dataclass(frozen=True, kw_only=True)
class BernoulliConfig:
    """Binary data; the untrained decoder gives the marginals."""

    def build(self, data: Dataset) -> nn.Module:
        if data.levels != 2:
            return BernoulliLikelihood(data.levels)
        marginals = torch.from_numpy(log_marginals(data))
        return BernoulliLikelihood(2, marginals[:, 1] - marginals[:, 0])


@dataclass(frozen=True, kw_only=True)
class CategoricalConfig:
    """A logit per level; the untrained decoder gives the marginals."""

    def build(self, data: Dataset) -> nn.Module:
        if data.levels > 256:
            raise UserError(
                f"a categorical likelihood lists every level, too many at {data.levels}: use "
                "likelihood=discretised-logistic"
            )
        return CategoricalLikelihood(torch.from_numpy(log_marginals(data)))


@dataclass(frozen=True, kw_only=True)
class DiscretisedLogisticConfig:
    """A logistic over the bins of any number of levels; the untrained decoder has the mean and spread of each pixel."""

    def build(self, data: Dataset) -> nn.Module:
        total, squares = np.zeros(data.dimensions), np.zeros(data.dimensions)
        for chunk in chunks(data.train.x):
            flat = chunk.reshape(len(chunk), -1).astype(np.float64)
            total += flat.sum(0)
            squares += (flat**2).sum(0)
        mean = total / len(data.train)
        std = np.sqrt(np.maximum(squares / len(data.train) - mean**2, 0.0)) * 2 / data.levels
        # A logistic's standard deviation is π/√3 of its scale; constant pixels get an eighth of a bin's half-width.
        scale = np.maximum(std * math.sqrt(3) / math.pi, 0.125 / data.levels)
        centre = (2 * mean + 1) / data.levels - 1
        return DiscretisedLogisticLikelihood(data.levels, torch.from_numpy(centre), torch.from_numpy(np.log(scale)))


@dataclass(frozen=True, kw_only=True)
class GaussianConfig:
    """A density; offered so that it can say why it does not fit data with levels."""

    def build(self, data: Dataset) -> nn.Module:
        raise UserError(
            f"a Gaussian likelihood is a density, and {data.name!r} has {data.levels} discrete levels: use "
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
