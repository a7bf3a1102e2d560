"""Mixtures of factor analysers as codes of tables with gaps: column by column, given the cells before.

Which cells are there comes first, by column: how many, and then each at that rate. Then the cells that are: categories,
whose masses are tables, and rounded reals in the schema's order, each given those before it, as the model's own log p
has it (`vlb.models.factor.chain`). Nothing is drawn, so that no bits are needed to begin with.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import constriction
import numpy as np
import torch
from torch import Tensor

from vlb.coding.cells import Code, TableCode, Uncodable
from vlb.coding.gridded import PARTS, GriddedCode, Window, snapped
from vlb.coding.models import Coded, Measuring, chosen_settings, coded_by, marginals
from vlb.coding.options import MAX_LANES
from vlb.coding.portable import snapped_weights
from vlb.coding.products import MAX_COMPONENTS, masses, whole
from vlb.coding.rows import folded, rows_of, unfolded
from vlb.coding.sequence import Lanes, SequenceCodec
from vlb.coding.stack import BitStack
from vlb.coding.wire import Reader, Writer
from vlb.core.condition import Condition, Role
from vlb.core.maps import through
from vlb.core.terms import EXACT, TermPath
from vlb.models.factor.chain import Chain
from vlb.models.factor.components import Rows, posterior
from vlb.models.factor.model import FactorMixture

REACH = 12.0  # standard deviations about the middle of a column within which its cells are told apart by tables
MOST_DIGITS = 8  # of sixteen parts each
Choose = Callable[[int, np.ndarray, Code], np.ndarray]  # the numbers of a column's cells in some rows, by their code


@dataclass(frozen=True)
class FactorSettings:
    """lanes: how rows are batched."""

    latent: ClassVar = False
    any_depth: ClassVar = False
    gaps: ClassVar = True
    passes: ClassVar = 1
    usual: ClassVar = Lanes(MAX_LANES)  # nothing is drawn, and wide batches say less of which cells are there

    lanes: Lanes = usual

    def write(self, writer: Writer) -> None:
        """As part of a header."""
        self.lanes.write(writer)

    @classmethod
    def read(cls, reader: Reader) -> "FactorSettings":
        """The inverse of `write`. Raises `Damaged` for settings that make no sense."""
        return cls(Lanes.read(reader))

    def codec(self, model: Coded) -> SequenceCodec:
        """The codec of a prepared model. Raises `Uncodable` where there can be none."""
        if coded_by(model) is not FactorSettings:
            raise Uncodable(f"no factors in a {type(model).__name__}")
        return SequenceCodec(Gapped(model), None, model.shape, self.lanes)

    def bounded(self, model: Coded) -> "OfCodes":
        """What of the model an archive's bits are measured against."""
        return OfCodes(model)

    def describe(self) -> dict[str, str]:
        """For people."""
        return {"order": "exact, without latents"}


class Gapped:
    """Pushes rows, as `rows` numbers them, and pops them again."""

    def __init__(self, model: FactorMixture) -> None:
        """Raises `Uncodable` for more components than can be summed."""
        self.model, self.columns = model, model.columns
        components = model.components
        count = len(components.log_weights)
        if count > MAX_COMPONENTS:
            raise Uncodable(f"a mixture of {count} components, where {MAX_COMPONENTS} can be summed")
        cells = np.split(whole(components.log_tables.cpu().numpy()), self.columns.offsets[1:-1], axis=1)
        # A column of one value has a second that it never takes: tables list two cells or more.
        self.masses = [
            np.pad(np.maximum(masses(-column), 1), ((0, 0), (0, max(0, 2 - column.shape[1])))) for column in cells
        ]
        self.windows = {number: _window(model, number) for number in self.columns.rounded}

    @torch.no_grad()
    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        """Push codes x (n, D). Raises `Uncodable` for one that is no value."""
        x = x.astype(np.int64)
        steps: list[tuple[Code, np.ndarray]] = []
        for part in _parts(len(x), self._piece):
            rows = x[part]

            def choose(place: int, there: np.ndarray, code: Code, rows: np.ndarray = rows) -> np.ndarray:
                numbers = rows[there, place] - 1
                steps.append((code, numbers if place in self.columns.categories else unfolded(numbers)))
                return steps[-1][1]

            self._walk(rows > 0, choose)
        for code, numbers in reversed(steps):
            code.push(stack, numbers)
        for place in reversed(self._places):
            _push_there(stack, x[:, place] > 0)

    @torch.no_grad()
    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        """Pop codes (count, D) int64."""
        x = np.zeros((count, *self.model.shape), np.int64)
        for place in self._places:
            x[:, place] = _pop_there(stack, count)
        for part in _parts(count, self._piece):
            rows = x[part]

            def choose(place: int, there: np.ndarray, code: Code, rows: np.ndarray = rows) -> np.ndarray:
                numbers = code.pop(stack)
                rows[there, place] = 1 + (numbers if place in self.columns.categories else folded(numbers))
                return numbers

            self._walk(rows > 0, choose)
        return x

    @property
    def _places(self) -> list[int]:
        """Of the columns whose cells have numbers, in the order in which they are coded."""
        return [*self.columns.categories, *(self.columns.reals[number] for number in self.columns.rounded)]

    @property
    def _piece(self) -> int:
        return self.model.piece

    def _walk(self, there: np.ndarray, choose: Choose) -> None:
        """Every column of n rows in order, `there` (n, D) saying which cells are: who chooses their numbers, is told
        their law given what was chosen before."""
        components, n = self.model.components, len(there)
        reals, categories = len(self.columns.reals), len(self.columns.categories)
        nothing = Rows(
            torch.zeros(n, reals, dtype=torch.float64),
            torch.zeros(n, reals, dtype=torch.float64),
            torch.zeros(n, categories, dtype=torch.int64),
            torch.zeros(n, categories, dtype=torch.float64),
            torch.ones(n, dtype=torch.float64),
        )
        chain = Chain(components, posterior(components, nothing))
        for place, offset, table in zip(self.columns.categories, self.columns.offsets, self.masses, strict=False):
            some = there[:, place]
            code = TableCode(_weights(chain.log_joint, some) @ table)
            numbers = np.zeros(n, np.int64)
            numbers[some] = choose(place, some, code)
            if (numbers[some] >= self.columns.counts[self.columns.categories.index(place)]).any():
                raise Uncodable("a value that its column does not have")
            told = torch.from_numpy(some).double()
            chain.log_joint = chain.log_joint + components.log_tables[:, torch.from_numpy(numbers) + offset] * told
        for number in self.columns.rounded:
            place, window = self.columns.reals[number], self.windows[number]
            some = there[:, place]
            mean, variance, _ = chain.predicted(number)
            means, deviations = snapped(mean.T.numpy()[some], variance.T.numpy()[some])
            cell = GriddedCode(window, _weights(chain.log_joint, some), means, deviations)
            y = np.zeros(n)
            y[some] = window.edge(choose(place, some, cell) + 0.5)
            chain.take_in(number, torch.from_numpy(y), torch.from_numpy(some))


class OfCodes:
    """A model's bound of rows as they are numbered."""

    bound = EXACT

    def __init__(self, model: FactorMixture) -> None:
        self.model, self.shape = model, model.shape

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        """−log p of the cells of codes x (n, D) that are there, (n,) nats."""
        values, observed = rows_of(x.cpu().numpy(), self.model.schema.columns or ())
        role = torch.where(torch.from_numpy(observed), Role.MODELLED, Role.ABSENT).to(torch.uint8)
        return self.model.terms(torch.from_numpy(values), Condition(role=role), generator)


def _window(model: FactorMixture, number: int) -> Window:
    """About the middle of a rounded column, by its number among the reals."""
    knots, slopes, heights = (part[number : number + 1] for part in model.maps.parts())
    resolution = float(model.columns.resolutions[number])

    def edge(cells: np.ndarray) -> np.ndarray:
        x = torch.from_numpy((cells - 0.5) * resolution)
        return through(x.reshape(1, -1), knots, slopes, heights)[0].reshape(x.shape).numpy()

    ends = torch.tensor([[-REACH], [REACH]], dtype=torch.float64).expand(2, len(model.columns.reals))
    low, high = (model.maps.inverse(ends)[:, number] / resolution).tolist()
    span = max(2.0, high - low)
    digits = next((d for d in range(1, MOST_DIGITS) if PARTS**d >= span), MOST_DIGITS)
    return Window(math.floor((low + high) / 2) - PARTS**digits // 2, digits, edge)


def _weights(log_joint: Tensor, some: np.ndarray) -> np.ndarray:
    """Of the components in some of n rows, (m, J), whole numbers."""
    return snapped_weights(log_joint.T.numpy()[some])


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _push_there(stack: BitStack, there: np.ndarray) -> None:
    """Which of n cells are there: how many, and then each at that rate."""
    count, many = len(there), int(there.sum())
    if 0 < many < count:
        _rate(count, many).push(stack, there.astype(np.int64))
    stack.push(np.array([many]), constriction.stream.model.Uniform(count + 1))


def _pop_there(stack: BitStack, count: int) -> np.ndarray:
    many = int(stack.pop(1, constriction.stream.model.Uniform(count + 1))[0])
    if 0 < many < count:
        return _rate(count, many).pop(stack)
    return np.full(count, int(many > 0), np.int64)


def _rate(count: int, many: int) -> TableCode:
    return TableCode(np.tile(np.array([count - many, many], np.float64), (count, 1)))


@coded_by.register
def _(model: FactorMixture) -> type[FactorSettings]:
    return FactorSettings


@marginals.register
def _(model: FactorMixture) -> None:
    return None


@chosen_settings.register
def _(model: FactorMixture, by: Measuring, steps: int, lanes: Lanes) -> FactorSettings:
    return FactorSettings(lanes)
