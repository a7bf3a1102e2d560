"""How a diffusion model is used as a code: kernel, levels, spacing, lanes – and the codec made of them."""

import copy
import hashlib
import json
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from vlb.coding.bitsback import Climbing, Descending
from vlb.coding.codes import data_code
from vlb.coding.sequence import SequenceCodec
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.errors import UserError
from vlb.kernel import ExactMixture, MomentMatched, ReverseKernel, Standard
from vlb.models.diffusion import DiffusionModel, GridDiffusion
from vlb.observation import Levels

KERNELS: tuple[ReverseKernel, ...] = (Standard(), MomentMatched(), ExactMixture())
KERNEL_NAMES = ("standard", "moments", "mixture")
TIME_UNIT = 255  # placed times are multiples of 1/255
SPACING_UNIT = 64
MAX_STEPS, MAX_LANES = 4096, 4096


@dataclass(frozen=True)
class Settings:
    """kernel: an index of `KERNELS`; times: T + 1 numbers 0 … 255, or None for T = `steps` equal ones.

    spacing: of the latents' grid, in 1/64 of the smallest standard deviation that matters at a level;
    lanes: examples coded at once.
    """

    kernel: int
    steps: int
    times: tuple[int, ...] | None
    spacing: int = 32
    lanes: int = 32

    def grid(self) -> torch.Tensor:
        """The levels' times, (T + 1,) float64."""
        if self.times is None:
            return torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        return torch.tensor(self.times, dtype=torch.float64) / TIME_UNIT

    def write(self, writer: Writer) -> None:
        """As part of a header."""
        writer.number(self.kernel).number(self.steps).number(self.spacing).number(self.lanes)
        writer.number(0 if self.times is None else 1).raw(bytes(self.times or ()))

    @classmethod
    def read(cls, reader: Reader) -> "Settings":
        """The inverse of `write`. Raises `Damaged` for settings that make no sense."""
        kernel, steps = reader.number(len(KERNELS) - 1), reader.number(MAX_STEPS)
        spacing, lanes = reader.number(4 * SPACING_UNIT), reader.number(MAX_LANES)
        times = tuple(reader.raw(steps + 1)) if reader.number(1) else None
        if steps < 1 or spacing < 1 or lanes < 1:
            raise Damaged("a setting is 0")
        if times is not None and any(a >= b for a, b in pairwise(times)):
            raise Damaged("levels that do not increase")
        return cls(kernel, steps, times, spacing, lanes)


def discretised(model: DiffusionModel, settings: Settings) -> GridDiffusion:
    """The hierarchy that is coded with."""
    return model.at(settings.grid(), KERNELS[settings.kernel])


def spacings(hierarchy: GridDiffusion, unit: float) -> list[float]:
    """δ of each level: `unit` times the smaller deviation of q(z_t | below) and of q(z_t | above, x).

    Rounded to eight bits, so that δ is the same number on every machine.
    """
    process = hierarchy.model.process
    zero = torch.zeros(1, 1, dtype=torch.float64, device=hierarchy.grid.device)
    found = []
    for level in range(hierarchy.depth):
        below = process.marginal(zero, hierarchy.time(0))
        if level:
            below = process.transition(zero, hierarchy.time(level - 1), hierarchy.time(level))
        log_variance = below.log_variance.min().item()
        if level + 1 < hierarchy.depth:
            above = process.posterior(zero, zero, hierarchy.time(level), hierarchy.time(level + 1))
            log_variance = min(log_variance, above.log_variance.min().item())
        mantissa, exponent = math.frexp(unit * math.exp(0.5 * log_variance))
        found.append(math.ldexp(round(mantissa * 256) / 256, exponent))
    return found


@torch.no_grad()
def marginals(model: DiffusionModel) -> np.ndarray:
    """(D, K): what the model says of each dimension where z says nothing; uniform where its head is silent."""
    like = torch.zeros(1, *model.shape, dtype=torch.float64, device=model.device)
    end = torch.ones(1, dtype=torch.float64, device=model.device)
    data = model.predict(like, end).data
    count = levels(model)
    if data is None:
        return np.ones((math.prod(model.shape), count))
    return data_code(data).weights


def levels(model: DiffusionModel) -> int:
    """K. Raises `UserError` for a model of continuous data, whose density is no code."""
    if not isinstance(model.observation, Levels):
        raise UserError("only models of discrete data compress: a density has no bits until a precision is chosen")
    return model.observation.count


def codec(model: DiffusionModel, settings: Settings) -> SequenceCodec:
    """The codec of a model that has been made ready by `prepared`. Raises `Uncodable` where there can be none."""
    hierarchy = discretised(model, settings)
    climbing = Climbing(hierarchy, spacings(hierarchy, settings.spacing / SPACING_UNIT), model.shape, model.device)
    return SequenceCodec(climbing, marginals(model), model.shape, settings.lanes)


def top_down(model: DiffusionModel, settings: Settings) -> SequenceCodec:
    """The same in top-down order, which needs the bits of all T levels at the start; for comparison."""
    hierarchy = discretised(model, settings)
    unit = settings.spacing / SPACING_UNIT
    descending = Descending(
        hierarchy, hierarchy.infer, hierarchy.start, spacings(hierarchy, unit), model.shape, model.device
    )
    return SequenceCodec(descending, marginals(model), model.shape, settings.lanes)


def prepared(model: DiffusionModel) -> DiffusionModel:
    """A copy in float64, where machines differ in the 16th digit instead of the 7th."""
    return copy.deepcopy(model).double().eval().requires_grad_(False)


def digest(model: DiffusionModel, description: dict[str, object]) -> bytes:
    """16 bytes of a SHA-256 over a model's weights and what it is."""
    state = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        state.update(f"{name}:{values.dtype}:{tuple(values.shape)};".encode())
        state.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return state.digest()[:16]
