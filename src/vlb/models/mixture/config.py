"""The configuration of a mixture of product-categoricals."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from vlb.base.checks import positive, without_labels
from vlb.base.errors import UserError
from vlb.data import Dataset
from vlb.data.baselines import log_marginals
from vlb.models.mixture.categorical import CategoricalMixture
from vlb.models.mixture.loss import MixtureLoss


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """A mixture with an exact log p. It starts from `em_steps` steps of EM, and training goes on by gradients.

    smoothing: observations of the marginals that are added to every component.
    """

    trained_by: ClassVar = MixtureLoss

    components: int = 20
    em_steps: int = 50
    smoothing: float = 20.0

    def build(self, data: Dataset, classes: int) -> CategoricalMixture:
        """The model after EM on the train split."""
        without_labels("a mixture", classes)
        positive("smoothing", self.smoothing)
        if data.levels > 256:
            raise UserError(f"a mixture of categoricals lists every level, too many at {data.levels}: use a VAE")
        marginals = torch.from_numpy(log_marginals(data))
        mixture = CategoricalMixture(marginals, self.components, data.shape, self.smoothing)
        if self.em_steps:
            mixture.em(torch.from_numpy(np.ascontiguousarray(data.train.x)), self.em_steps)
        mixture.get_buffer("examples").fill_(len(data.train))
        return mixture
