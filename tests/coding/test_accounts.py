"""What is counted and keyed beside the codes: rates of whole files, keys of whitening, spacing of latents."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.building import built
from tests.coding.archives import LEVELS, SHAPE
from tests.coding.toys import Npy
from vlb.base.walk import Named
from vlb.coding.bitsback import _key
from vlb.coding.cells import Uncodable
from vlb.coding.diffusion import discretised, evenly, grids
from vlb.coding.effort import remembered
from vlb.coding.elements import Model, plain_dtype
from vlb.coding.general import _add, _subtract
from vlb.coding.layouts import LAYOUTS, layout_of
from vlb.coding.models import Measuring
from vlb.coding.products import ProductMixture
from vlb.coding.sequence import Account, Lanes
from vlb.coding.sources import understood
from vlb.coding.stack import BitStack
from vlb.coding.summary import Summary
from vlb.coding.trial import Trial
from vlb.data import Dataset
from vlb.data.formats.base import Content, Declined, File
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.schedules import Cosine
from vlb.nn.mlp import MLP

counts = st.integers(0, 1 << 40)


@settings(derandomize=True, deadline=None)
@given(counts, counts, counts, st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.floats(0, 1e9))))
def test_rates_times_what_they_are_of_are_bits(
    values: int, written: int, model: int, parts: list[tuple[int, int, float]]
) -> None:
    """Of a whole file 8 bits a byte, without a carried model, and with it; of bits back, those of its own examples."""
    accounts = [Account(direct + more, direct, 7 * more, 0.0, net) for direct, more, net in parts]
    summary = Summary(values=values, bytes_out=written, model_bytes=model, accounts=accounts)
    if not values:
        assert math.isnan(summary.gross) and math.isnan(summary.gross_with_model)
    else:
        assert summary.gross_with_model * values == pytest.approx(8 * written)
        assert (summary.gross_with_model - summary.gross) * values == pytest.approx(8 * model, abs=1e-3 * values)
    own = sum(more for _, more, _ in parts)
    if not own:
        assert math.isnan(summary.net)
    else:
        assert summary.net * 7 * own == pytest.approx(sum(net for *_, net in parts))


rungs = st.tuples(st.integers(0, (1 << 16) - 1), st.integers(0, 1 << 40))


@given(rungs, rungs)
def test_no_two_rungs_of_a_try_are_whitened_alike(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (_key(*one) == _key(*other)) == (one == other)


@pytest.mark.parametrize("unit", [0.5, 0.25])
def test_latents_lie_a_share_of_the_narrowest_law_apart(model: DiffusionModel, unit: float) -> None:
    """δ, to eight bits, against the closed forms: σ_t|s² = σ_t² (1 − SNR_t/SNR_s), σ_Q² = σ_s² (1 − SNR_t/SNR_s), and
    σ_t² = 1/(1 + SNR_t), for variance is preserved."""
    hierarchy = discretised(model, evenly(1, 5))
    gamma = [float(hierarchy.model.process.schedule.gamma(hierarchy.time(i))) for i in range(hierarchy.depth)]
    variance = [1 / (1 + math.exp(-one)) for one in gamma]
    for i, grid in enumerate(grids(hierarchy, unit)):
        lost_below = -math.expm1(gamma[i - 1] - gamma[i]) if i else 1.0
        lost_above = -math.expm1(gamma[i] - gamma[i + 1]) if i + 1 < hierarchy.depth else 1.0
        deviation = math.sqrt(variance[i] * min(lost_below, lost_above))
        assert grid.spacing == pytest.approx(unit * deviation, rel=2**-8)
        mantissa, _ = math.frexp(grid.spacing)
        assert (mantissa * 256).is_integer()


def test_without_examples_rungs_are_even_in_log_snr(digits: Dataset, tmp_path: Path) -> None:
    """To the nearest place; so many that two would be at one are even in t."""
    model = built(Diffusion(schedule=Cosine(), backbone=MLP(width=4, blocks=0)), digits)
    by = Measuring(tmp_path, b"12345678", lambda: None)
    chosen = remembered(model, by, 4, Lanes(1))
    assert chosen.steps == 4 and chosen.parts > 4
    t = torch.tensor(chosen.places, dtype=torch.float64) / chosen.parts
    schedule = model.process.schedule
    even = torch.linspace(schedule.gamma_0, schedule.gamma_1, 5, dtype=torch.float64)
    assert bool(((t - schedule.inverse(even)).abs() <= 0.5 / chosen.parts + 1e-9).all())
    many = remembered(model, by, 3 * chosen.parts, Lanes(1))
    assert (many.places, many.parts) == (tuple(range(3 * chosen.parts + 1)), 3 * chosen.parts)


sizes = st.integers(1, 4)


@settings(derandomize=True, deadline=None)
@given(sizes, st.lists(sizes, min_size=1, max_size=3).map(tuple))
def test_layouts_of_arrays_are_undone(count: int, example: tuple[int, ...]) -> None:
    """Each that there is of an example's shape keeps all its values; one that takes no rows is of one example."""
    x = np.arange(count * math.prod(example)).reshape(count, *example)
    for layout in LAYOUTS:
        shape = layout.shape(count, example)
        if layout.form(example) is None or (layout.alone and count > 1):
            assert shape is None
        elif layout.alone and len(layout.form(example)) < 2:
            assert shape is None  # a row by itself is a vector of examples
        else:
            array = layout.array(x)
            assert array.shape == shape and np.array_equal(layout.examples(array, example), x)
            found = layout_of(shape, example)
            assert found is not None and found.shape(len(found.examples(array, example)), example) == shape


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_convolution_multiplies_as_often_as_its_sum_is_long(channels: int) -> None:
    """Every number of the output, where edges are padded, is a sum over the kernel and the channels."""
    x, weight = torch.zeros(1, channels, 6, 6), torch.zeros(4, channels, 3, 3)
    with torch.no_grad(), Trial(math.inf, math.inf, frozenset()) as trial:
        found = torch.nn.functional.conv2d(x, weight, padding=1)
    assert trial.made == found.numel() * channels * 9


class Free(Npy):
    """Writes nothing as it was; whether that is within its freedom is given."""

    def __init__(self, freedom: str | None, same: bool) -> None:
        self.freedom, self.alike = freedom, same

    def write(self, file: File) -> bytes:
        return super().write(file) + b"."

    def same(self, one: Content, other: Content) -> bool:
        return self.alike


@pytest.mark.parametrize(("freedom", "same"), [(None, True), ("its padding", False), ("its padding", True)])
def test_a_file_that_would_come_back_otherwise_is_stored_as_it_is(
    freedom: str | None, same: bool, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, *SHAPE), np.uint8))
    named, content = Named(tmp_path / "x.npy", "x.npy"), (tmp_path / "x.npy").read_bytes()
    formats = (Free(freedom, same),)
    if freedom and same:
        assert understood(named, content, Model(SHAPE, LEVELS), formats).freedom == freedom
    else:
        with pytest.raises(Declined, match="every byte"):
            understood(named, content, Model(SHAPE, LEVELS), formats)


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 70))
def test_differences_add_up_again(content: bytes, stride: int) -> None:
    """Of any length, whole rows or not, and rows longer than all."""
    assert _add(_subtract(content, stride), stride) == content


@given(st.one_of(st.integers(2, 1 << 32), st.sampled_from([256, 257, 1 << 16, (1 << 16) + 1, 1 << 32])))
def test_levels_are_stored_in_the_least_whole_number_that_holds_them(levels: int) -> None:
    kind = plain_dtype(levels)
    assert kind.str[0] in "|<" and levels - 1 <= np.iinfo(kind).max
    assert kind.itemsize == 1 or levels - 1 > np.iinfo(f"u{kind.itemsize // 2}").max


@pytest.mark.parametrize("value", [-1, 3, 4])
def test_a_value_that_no_component_has_is_not_coded(value: int) -> None:
    cells = [np.full((2, 3), 1 << 20, np.int64), np.full((2, 5), 1 << 20, np.int64)]
    mixture, stack = ProductMixture(np.zeros(2, np.int64), cells), BitStack()
    mixture.push(stack, np.array([[2, 4]]))
    assert mixture.pop(stack, 1).tolist() == [[2, 4]]
    with pytest.raises(Uncodable, match="outside"):
        mixture.push(stack, np.array([[value, 4]]))
