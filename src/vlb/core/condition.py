"""What a model may be conditioned on. `None` in place of a condition means: nothing."""

from typing import NamedTuple

from torch import Tensor


class Labels(NamedTuple):
    """Class labels. label: (batch,) int64; −1 stands for no label."""

    label: Tensor
