"""Random patterns of roles, by which a model that is told roles learns the law of some elements given others."""

import torch
from torch import Tensor

from vlb.core.condition import Condition, Role

HOLES = 0.5  # share of the pictures with known pixels of which all but a rectangle are known


def some_known(x: Tensor, condition: Condition, share: float, generator: torch.Generator) -> Tensor:
    """The roles of x (batch, *shape) with some modelled elements known, in about `share` of the examples: of each a
    uniform share of its elements, at random; of pictures (C, H, W) pixels, or all but a rectangle of them."""
    n, *shape = x.shape
    role = torch.zeros(x.shape, dtype=torch.uint8, device=x.device) if condition.role is None else condition.role
    pixels = [1, *shape[1:]] if len(shape) == 3 else shape
    one = (n, *(1 for _ in shape))

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator, device=generator.device).to(x.device)

    known = uniform(n, *pixels) < uniform(*one)
    if len(shape) == 3:
        known = torch.where(uniform(*one) < HOLES, _around(uniform(4, n), shape[1], shape[2]), known)
    chosen = (uniform(*one) < share) & known & (role == Role.MODELLED)
    return torch.where(chosen, Role.KNOWN, role).to(torch.uint8)


def _around(uniform: Tensor, height: int, width: int) -> Tensor:
    """All but a rectangle: (4, n) uniform numbers -> (n, 1, height, width) bool. Sides and places are uniform."""
    hole = []
    for size, (side, place) in ((height, uniform[:2]), (width, uniform[2:])):
        low = place * (1 - side)
        at = (torch.arange(size, device=uniform.device) + 0.5) / size
        hole.append((at >= low.unsqueeze(1)) & (at < (low + side).unsqueeze(1)))
    return ~(hole[0][:, None, :, None] & hole[1][:, None, None, :])
