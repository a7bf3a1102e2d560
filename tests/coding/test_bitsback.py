"""Bits back with a trained model: exact both ways, at the rate of the bound, from few initial bits."""

import math

import numpy as np
import pytest
import torch

from tests.coding.conftest import placed
from vlb.coding import diffusion
from vlb.coding.bitsback import Climbing, Grid
from vlb.coding.codes import data_code, drawn, scored
from vlb.coding.diffusion import DiffusionSettings, evenly
from vlb.coding.sequence import SequenceCodec
from vlb.coding.stack import BitStack, Underflow
from vlb.core.bound import elbo
from vlb.core.condition import UNCONDITIONAL, Condition
from vlb.models.diffusion.model import DiffusionModel


def in_swap_order(model: DiffusionModel, chosen: DiffusionSettings) -> SequenceCodec:
    return chosen.codec(model)


EVENLY = evenly(1, 5)


def bits(seed: int, words: int = 40_000) -> BitStack:
    return BitStack(np.random.default_rng(seed).integers(1, 2**32, words, dtype=np.uint32).tobytes())


@pytest.mark.parametrize("chosen", [placed(1), placed(4), placed(4, kernel=1), placed(4, kernel=0), EVENLY])
@pytest.mark.parametrize("order", [in_swap_order, diffusion.top_down])
def test_decoding_undoes_encoding(
    model: DiffusionModel, test_images: np.ndarray, chosen: DiffusionSettings, order: object
) -> None:
    assert callable(order)
    codec, stack, x = order(model, chosen).batch, bits(0), test_images[:30]
    before = stack.content()
    codec.encode(stack, x)
    assert np.array_equal(codec.decode(stack, len(x)), x)
    assert stack.content() == before


@pytest.mark.parametrize("kernel", [1, 2])
def test_the_net_rate_is_the_bound(model: DiffusionModel, test_images: np.ndarray, kernel: int) -> None:
    """Both estimate −VLB from draws of z; 6 standard errors of their difference, false alarm 2e-9, and 1 % for
    the grid and snapping."""
    chosen = placed(8, kernel)
    hierarchy = diffusion.discretised(model, chosen)
    images = test_images[:150]
    x = torch.tensor(images)
    with torch.no_grad():
        totals = torch.stack(
            [elbo(hierarchy, hierarchy.infer(x), x, torch.Generator().manual_seed(s)).total for s in (0, 1)]
        )
    bound = totals.mean().item() / math.log(2)
    error = (totals[0] - totals[1]).std().item() / math.sqrt(2) * math.sqrt(1.5 / len(x)) / math.log(2)
    codec, stack = chosen.codec(model).batch, bits(1)
    before = stack.bits
    codec.encode(stack, images)
    rate = (stack.bits - before) / len(x)
    assert abs(rate - bound) < 6 * error + 0.01 * bound


def test_climbing_needs_fewer_initial_bits_than_descending(model: DiffusionModel, test_images: np.ndarray) -> None:
    x, chosen = test_images[:20], placed(8)
    up, _ = chosen.codec(model).probe(x)
    down, _ = diffusion.top_down(model, chosen).probe(x)
    assert up < 0.5 * down
    assert up < 6 * x.size


def test_an_empty_stack_is_noticed(model: DiffusionModel, test_images: np.ndarray) -> None:
    with pytest.raises(Underflow):
        placed(4).codec(model).batch.encode(BitStack(), test_images[:2])


class _Noisy(torch.nn.Module):
    """A denoiser on another machine: its outputs differ by `size`, relative to 1."""

    def __init__(self, inner: torch.nn.Module, size: float) -> None:
        super().__init__()
        self.inner, self.size, self.generator = inner, size, torch.Generator().manual_seed(0)
        self.decodes, self.takes = inner.decodes, inner.takes
        self.backbone = inner.backbone

    def forward(self, z: torch.Tensor, gamma: torch.Tensor, condition: Condition = UNCONDITIONAL) -> object:
        noise = torch.randn(z.shape, generator=self.generator, dtype=z.dtype)
        return self.inner(z + self.size * noise, gamma, condition)


def test_differences_between_machines_do_not_matter(model: DiffusionModel, test_images: np.ndarray) -> None:
    """Float64 results differ in their last digits; the snapped parameters do not."""
    x, chosen, stack = test_images[:40], placed(4), bits(2)
    chosen.codec(model).batch.encode(stack, x)
    other = DiffusionModel(model.process, _Noisy(model.denoiser, 1e-14), model.embedding, model.shape)
    assert np.array_equal(chosen.codec(other).batch.decode(stack, len(x)), x)


class Linear:
    """One latent per value, z | x ~ N(x/4, 1/4), and a p that fits it badly: any climbable hierarchy will do."""

    depth = 1

    def up(self, level: int, below: torch.Tensor) -> object:
        from vlb.core.distributions import Normal

        return Normal(below.double() / 4, torch.full((1, 1), math.log(0.25), dtype=torch.float64))

    def down(self, level: int, z: torch.Tensor) -> object:
        from vlb.core.distributions import Categorical

        return Categorical(-((4 * z.unsqueeze(-1) - torch.arange(5)) ** 2) / 4)

    def top(self, z: torch.Tensor) -> object:
        from vlb.core.distributions import Normal

        return Normal(torch.zeros_like(z), torch.zeros(1, 1, dtype=torch.float64))


def test_any_climbable_hierarchy_codes() -> None:
    codec = Climbing(Linear(), [Grid(0.25, (6,))], (6,), torch.device("cpu"))  # type: ignore[arg-type]
    x = np.random.default_rng(0).integers(0, 5, (50, 6))
    stack = bits(3)
    before = stack.content()
    codec.encode(stack, x)
    assert np.array_equal(codec.decode(stack, 50), x)
    assert stack.content() == before


def test_levels_come_coarse_first(model: DiffusionModel, test_images: np.ndarray) -> None:
    chosen = placed(8)
    codec, stack, x = chosen.codec(model).batch, bits(4), test_images[:20]
    assert isinstance(codec, Climbing)
    codec.encode(stack, x)
    seen: list[tuple[int, float]] = []
    grid = diffusion.discretised(model, chosen)
    for level, z in codec.decoding(stack, len(x)):
        if level >= 0:
            guess = model.predict(z, grid.time(level)).x
            seen.append((level, float(((guess - model.embedding.embed(torch.tensor(x))) ** 2).mean())))
    assert [level for level, _ in seen] == list(range(8, -1, -1))
    assert seen[-1][1] < 0.2 * seen[0][1]


def test_codes_are_made_for_what_hierarchies_are_made_of(model: DiffusionModel, test_images: np.ndarray) -> None:
    hierarchy = diffusion.discretised(model, placed(4))
    z = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    assert scored(hierarchy.down(2, z), 0.1) and data_code(hierarchy.down(0, z)) and drawn(hierarchy.up(1, z), 0.1)
