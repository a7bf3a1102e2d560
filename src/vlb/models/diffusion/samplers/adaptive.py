"""An embedded Runge–Kutta method with adaptive steps: dy/dt = f(t, y) by Dormand & Prince (1980), 5(4).

Two solutions of orders 5 and 4 share their stages; their difference estimates the error of a step, which is
taken again with a smaller stride where it is too large. The last stage is the first of the next step. All
examples of a batch take the same steps, those that the worst of them needs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

import torch
from torch import Tensor

from vlb.base.domains import Settings, Share, Within
from vlb.base.errors import UserError, broken

Field = Callable[[float, Tensor], Tensor]

NODES = (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1)
STAGES: tuple[tuple[float, ...], ...] = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
# Weights of order 5 less those of order 4.
ERROR = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0


class Trial(NamedTuple):
    """One step tried: y after it, dy/dt there, and the estimate of the local error."""

    y: Tensor
    slope: Tensor
    error: Tensor


class Point(NamedTuple):
    """An accepted point of a solution, and what it has cost so far."""

    t: float
    y: Tensor
    slope: Tensor
    evaluations: int
    rejected: int


class Size(Protocol):
    """How large the estimated error of a step from t is, in tolerances: at most 1, and the step is taken."""

    def __call__(self, t: float, error: Tensor, old: Tensor, new: Tensor) -> float: ...


@dataclass(frozen=True)
class Tolerances(Settings):
    """error/(atol + rtol |y|), in the root mean square over each example, the largest of the batch."""

    rtol: Share = 1e-5
    atol: Annotated[float, Within(1e-14, 1)] = 1e-5

    def __call__(self, t: float, error: Tensor, old: Tensor, new: Tensor) -> float:
        scaled = error / (self.atol + self.rtol * torch.maximum(old.abs(), new.abs()))
        return scaled.flatten(1).square().mean(1).sqrt().max().item()


def dormand_prince(field: Field, t: float, y: Tensor, slope: Tensor, stride: float) -> Trial:
    """One step of order 5 from (t, y) with f(t, y) = slope: six evaluations."""
    slopes = [slope]
    at = y
    for node, row in zip(NODES[1:], STAGES[1:], strict=True):
        at = y + stride * _combine(row, slopes)
        slopes.append(field(t + node * stride, at))
    return Trial(at, slopes[-1], stride * _combine(ERROR, slopes))


def solve(
    field: Field,
    y: Tensor,
    start: float,
    end: float,
    size: Size,
    *,
    max_steps: int = 10_000,
) -> Iterator[Point]:
    """The accepted points from `start` to `end`, in either direction; y is (batch, *shape).

    Raises `UserError` after `max_steps` tries, or where no stride is short enough.
    """
    point = Point(start, y, field(start, y), 1, 0)
    stride = 0.01 * (end - start)
    shortest = 1e-14 * abs(end - start)
    for _ in range(max_steps):
        if abs(stride) < shortest:
            break
        remaining = end - point.t
        last = abs(stride) >= abs(remaining)
        stride = remaining if last else stride
        trial = dormand_prince(field, point.t, point.y, point.slope, stride)
        found = size(point.t, trial.error, point.y, trial.y)
        evaluations = point.evaluations + len(NODES) - 1
        if found <= 1:
            t = end if last else point.t + stride
            point = Point(t, trial.y, trial.slope, evaluations, point.rejected)
            yield point
            if last:
                return
        else:
            point = point._replace(evaluations=evaluations, rejected=point.rejected + 1)
        # A size that is not a number comes from a stride far too long.
        factor = SAFETY * max(found, 1e-10) ** -0.2 if found == found else SHRINK
        stride *= min(GROW, max(SHRINK, factor))
    where = f"the ODE solver stopped at t = {point.t:g} after {point.evaluations} evaluations"
    if not bool(field(point.t, point.y).isfinite().all()):
        raise broken(f"{where}, for its slope is not finite there")
    raise UserError(f"{where}: the tolerance asks for more than the network's precision holds; try a larger one")


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    total = torch.zeros_like(slopes[0])
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            total = total + weight * slope
    return total
