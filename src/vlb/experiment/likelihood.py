"""Configurations of p(x | z): one per kind of data; each refuses data that it does not fit."""

from dataclasses import dataclass

import torch
from torch import nn

from vlb.data import Dataset
from vlb.data.baselines import log_marginals
from vlb.errors import UserError
from vlb.likelihoods import BernoulliLikelihood, CategoricalLikelihood, DiscretisedLogisticLikelihood


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
                "likelihood=DiscretisedLogisticConfig"
            )
        return CategoricalLikelihood(torch.from_numpy(log_marginals(data)))


@dataclass(frozen=True, kw_only=True)
class DiscretisedLogisticConfig:
    """A logistic over the bins of any number of levels."""

    def build(self, data: Dataset) -> nn.Module:
        return DiscretisedLogisticLikelihood(data.levels)


@dataclass(frozen=True, kw_only=True)
class GaussianConfig:
    """A density; offered so that it can say why it does not fit data with levels."""

    def build(self, data: Dataset) -> nn.Module:
        raise UserError(
            f"a Gaussian likelihood is a density, and {data.name!r} has {data.levels} discrete levels: use "
            "likelihood=CategoricalConfig or DiscretisedLogisticConfig (in Python, "
            "`vlb.likelihoods.GaussianLikelihood` serves real data)"
        )


LikelihoodConfig = BernoulliConfig | CategoricalConfig | DiscretisedLogisticConfig | GaussianConfig
