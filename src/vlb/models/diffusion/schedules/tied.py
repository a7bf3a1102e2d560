"""One noise schedule for all numbers that an element of x enters as."""

import torch
from torch import Tensor, nn

from vlb.models.diffusion.schedules.base import Schedule, bisect


class Tied(nn.Module, Schedule):
    """γ of each number of the embedded x is that of its element: the values of a category are noised together.

    The reference coordinate is the mean of γ over the numbers.
    """

    def __init__(self, schedule: Schedule, of_element: Tensor) -> None:
        """schedule: per element (…, D); of_element: (E,), the element that each number is of."""
        super().__init__()
        self.schedule = schedule
        self.register_buffer("of_element", of_element, persistent=False)

    @property
    def learns_ends(self) -> bool:
        return self.schedule.learns_ends

    @property
    def device(self) -> torch.device:
        return self.schedule.device

    @property
    def gamma_0(self) -> float:
        return self._end(0.0)

    @property
    def gamma_1(self) -> float:
        return self._end(1.0)

    @torch.no_grad()
    def _end(self, t: float) -> float:
        return float(self.gamma(torch.tensor([t], dtype=torch.float64, device=self.device)).mean())

    def gamma(self, t: Tensor) -> Tensor:
        return self._wide(self.schedule.gamma(t))

    def rate(self, t: Tensor) -> Tensor:
        return self._wide(self.schedule.rate(t))

    def inverse(self, gamma: Tensor) -> Tensor:
        return bisect(lambda t: self.gamma(t).mean(-1), gamma)

    def _wide(self, values: Tensor) -> Tensor:
        return values[..., self.get_buffer("of_element").to(values.device)]


def tied(schedule: Schedule, of_element: Tensor) -> Schedule:
    """A schedule of elements as one of numbers, of which of_element (E,) says what each is of; one that all share stays
    as it is."""
    dimensions = schedule.gamma(torch.zeros(1, dtype=torch.float64)).shape[-1]
    return schedule if dimensions in (1, len(of_element)) else Tied(schedule, of_element)
