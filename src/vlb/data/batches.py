"""Examples of a split as tensors on a device."""

import numpy as np
import torch
from torch import Tensor

from vlb.core.condition import Labels
from vlb.data.dataset import Split


def examples(
    split: Split, index: np.ndarray, conditional: bool, device: torch.device | str
) -> tuple[Tensor, Labels | None]:
    """Examples `index` of a split and their labels, where asked for, on the device: integers until there."""
    x = torch.from_numpy(np.ascontiguousarray(split.x[index])).to(device)
    if not conditional or split.labels is None:
        return x, None
    return x, Labels(torch.from_numpy(split.labels[index]).to(device))
