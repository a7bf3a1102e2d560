"""Models as training starts them."""

import torch
from torch import nn

from vlb.core.initial import initialise
from vlb.data import Dataset


def built(config, data: Dataset) -> nn.Module:
    """Of a configuration and a data set, with weights from torch's own generator."""
    model = config.build(data.schema)
    initialise(model, data.train, torch.default_generator)
    return model
