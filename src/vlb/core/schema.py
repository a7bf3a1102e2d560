"""Schema: what one example is – its layout, the scale of measurement of its elements, its classes. Nothing in it is
fitted, and a model is built from its configuration and a schema alone.

Kinds with mass number their values: `index` gives the number of each value, `value` the value of each number, and
models, codecs and formats speak of those numbers only. The dominating measure of a likelihood is the schema's –
counting, the mass of an interval, or Lebesgue in the column's unit – and numbers under different ones are not
compared.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np

from vlb.base.configuration import Family
from vlb.base.domains import Count, Positive, Settings, Whole, Within, admit
from vlb.base.errors import UserError
from vlb.core.layouts import LAYOUTS, Image, Layout, Points, Vector, Volume, Wave

MOST_LEVELS = 1 << 24
Mark = Literal["", ",", "."]
Classes = Annotated[int, Within(1, 1 << 20)]


def smallest(levels: int) -> np.dtype:
    """The smallest unsigned type that holds so many numbers."""
    return np.min_scalar_type(levels - 1)


class Kind(Protocol):
    """A scale of measurement."""

    @property
    def count(self) -> int | None:
        """How many values there are; None where they are not finitely many."""

    @property
    def measure(self) -> str:
        """What a likelihood of it is stated against, in words."""


@dataclass(frozen=True)
class Levels(Settings):
    """Ordered whole numbers 0 … count − 1."""

    count: Annotated[int, Within(2, MOST_LEVELS)]

    @property
    def measure(self) -> str:
        return "counting"

    def index(self, values: np.ndarray) -> np.ndarray:
        """Values as their numbers, int64: here they are the same. Raises `UserError` for one that is no level."""
        numbers = np.asarray(values)
        if numbers.size and not (
            (numbers == np.floor(numbers)).all() and 0 <= numbers.min() <= numbers.max() < self.count
        ):
            raise UserError(f"levels are whole numbers from 0 to {self.count - 1}")
        return numbers.astype(np.int64)

    def value(self, index: np.ndarray) -> np.ndarray:
        """The inverse of `index`."""
        return np.asarray(index)


@dataclass(frozen=True)
class Categories(Settings):
    """Values, each a text. other: one more, after them, stands for every text that is not listed; ordered: whether
    their order means something."""

    values: tuple[str, ...]
    other: bool = False
    ordered: bool = False

    def __post_init__(self) -> None:
        """Raises `UserError` where there are none, or one twice."""
        super().__post_init__()
        if not self.values or len(set(self.values)) < len(self.values):
            raise UserError(f"categories are one or more different texts, not {list(self.values)[:20]}")

    @property
    def count(self) -> int:
        return len(self.values) + self.other

    @property
    def measure(self) -> str:
        return "counting"

    def index(self, values: np.ndarray) -> np.ndarray:
        """Texts as their numbers, int64. Raises `UserError` for one that is not listed, unless there is `other`."""
        numbers = {value: number for number, value in enumerate(self.values)}
        spare = len(self.values) if self.other else -1
        flat = [numbers.get(str(value), spare) for value in np.asarray(values, object).reshape(-1)]
        index = np.array(flat, np.int64).reshape(np.shape(values))
        if (index < 0).any():
            unknown = str(np.asarray(values, object).reshape(-1)[int((index.reshape(-1) < 0).argmax())])
            raise UserError(f"{unknown!r} is none of the categories that are known")
        return index

    def value(self, index: np.ndarray) -> np.ndarray:
        """The texts of numbers; that of `other` is empty."""
        return np.array([*self.values, ""], object)[np.asarray(index)]


@dataclass(frozen=True)
class Real(Settings):
    """Real numbers: with a density per `unit`, or, where they are rounded to multiples of `resolution`, with a mass."""

    resolution: Positive | None = None
    unit: str = ""

    @property
    def count(self) -> None:
        return None

    @property
    def measure(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if self.resolution is None:
            return f"Lebesgue, per{unit or ' unit'}"
        return f"the mass of an interval of {self.resolution:g}{unit}"

    def index(self, values: np.ndarray) -> np.ndarray:
        """Rounded values as whole multiples of the resolution, int64. Raises `UserError` where there is none."""
        if self.resolution is None:
            raise UserError("values with a density have no numbers: give the column a resolution")
        return np.rint(np.asarray(values, np.float64) / self.resolution).astype(np.int64)

    def value(self, index: np.ndarray) -> np.ndarray:
        """The inverse of `index`, float64."""
        if self.resolution is None:
            raise UserError("values with a density have no numbers: give the column a resolution")
        return np.asarray(index) * self.resolution


KINDS = Family("kind of values", {"levels": Levels, "categories": Categories, "real": Real})
AnyKind = Annotated[Levels | Categories | Real, KINDS]


@dataclass(frozen=True)
class Column(Settings):
    """A column of a table: its name, None in a table without a row of names, and what it holds.

    missing: texts that say that a cell is missing, beside the usual ones. thousands: the mark that may stand between
    groups of three digits, the other one being the decimal mark; where there is none, either is. atoms_of: the name of
    a real column with atoms, of which this one tells the cell's: its categories are the atoms as texts and, last, the
    empty text for any other value. At an atom the real column's cell is not observed.
    """

    name: str | None
    kind: AnyKind
    missing: tuple[str, ...] = ()
    atoms_of: str | None = None
    thousands: Mark = ""

    @property
    def values(self) -> tuple[str, ...]:
        """The texts that its numbers stand for, in order. Raises `UserError` where they are not listed."""
        if isinstance(self.kind, Real):
            raise UserError(f"the column {self.name or ''!r} is real and has no list of values")
        return tuple(map(str, range(self.kind.count))) if isinstance(self.kind, Levels) else self.kind.values


@dataclass(frozen=True)
class Pieces(Settings):
    """How things of any size are cut: into tiles (or windows) with a margin on all sides, in so many phases that those
    of one phase do not see each other (`vlb.data.pieces`).

    told: whether the model is told the roles of elements; one that is not models what a tile has beyond the thing, too,
    a repetition of its edge, so that its −log p(x) of the thing is an upper bound.
    """

    tile: tuple[Count, ...]
    margin: Whole = 0
    phases: Count = 1
    told: bool = True

    def __post_init__(self) -> None:
        """Raises `UserError` for a tile that cuts nothing, phases that do not alternate, and a margin of which nothing
        would be known."""
        super().__post_init__()
        if not self.tile:
            raise UserError("the tile of pieces has a size along each axis")
        if self.phases not in (offered := [2**k for k in range(len(self.tile) + 1)]):
            raise UserError(f"the phases of pieces of {len(self.tile)} axes are one of {offered}, not {self.phases}")
        if self.margin and (self.phases == 1 or not self.told):
            raise UserError("a margin is known across phases, to a model that is told roles: leave it out")

    @property
    def window(self) -> tuple[int, ...]:
        """The size of a piece: of its tile and the margin on both sides."""
        return tuple(tile + 2 * self.margin for tile in self.tile)


@dataclass(frozen=True, kw_only=True)
class Schema(Settings):
    """What one example is.

    kinds: that of all elements, or the columns of a table in order; labels: the names of the classes, in their order;
    pieces: how larger things are cut into examples; gaps: whether cells of a table may be missing.
    """

    layout: Annotated[Layout, LAYOUTS]
    kinds: AnyKind | tuple[Column, ...]
    labels: tuple[str, ...] | None = None
    pieces: Pieces | None = None
    gaps: bool = False

    def __post_init__(self) -> None:
        """Raises `UserError` where columns and layout do not fit, two classes or columns have one name, or only some
        columns have names."""
        super().__post_init__()
        if isinstance(self.kinds, tuple):
            if not isinstance(self.layout, Vector) or self.shape != (len(self.kinds),):
                raise UserError(f"{len(self.kinds)} columns do not fit examples of shape {self.shape}")
            names = {column.name for column in self.kinds}
            if names != {None} and len(names) < len(self.kinds):
                raise UserError("two columns have the same name: rename one")
            if names != {None} and None in names:
                raise UserError("some columns have names and others have none: name all of them, or none")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise UserError("two classes have the same name: rename one")
        if self.pieces is not None and self.pieces.window != self.shape[1:]:
            raise UserError(f"pieces of {self.pieces.window} places do not fit examples of shape {self.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.layout.shape

    @property
    def dimensions(self) -> int:
        """Elements of one example: what bits per dimension divides by."""
        return math.prod(self.shape)

    @property
    def laws(self) -> int:
        """How many laws elements have when nothing is known: each its own, but pieces and windows of sound may lie
        anywhere, so that theirs have one in each channel."""
        heard = isinstance(self.layout, Wave) and self.layout.rate is not None
        return self.shape[0] if heard or self.pieces is not None else self.dimensions

    def refuse_pieces(self, what: str, instead: str) -> None:
        """Raises `UserError` where examples are pieces of larger things, of which there is not what was asked for;
        instead: what a person can do."""
        if self.pieces is not None:
            raise UserError(f"{what} is of whole examples, and this run's are tiles of pictures (--crop): {instead}")

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """Those of a table."""
        return self.kinds if isinstance(self.kinds, tuple) else None

    @property
    def each(self) -> tuple[Levels | Categories | Real, ...]:
        """The kinds that there are: one per column, or one for all elements."""
        return tuple(column.kind for column in self.kinds) if isinstance(self.kinds, tuple) else (self.kinds,)

    @property
    def discrete(self) -> bool:
        """Whether every element has finitely many values."""
        return all(kind.count is not None for kind in self.each)

    @property
    def plain(self) -> bool:
        """Whether every element has finitely many values and is there."""
        return self.discrete and not self.gaps

    @property
    def counts(self) -> tuple[int, ...]:
        """How many values there are: of each column, or one number for all elements. Raises `UserError` where they are
        not finitely many."""
        counts = tuple(kind.count for kind in self.each if kind.count is not None)
        if len(counts) < len(self.each) and isinstance(self.layout, Points):
            raise UserError(
                "this kind of model is of discrete data, and points have real coordinates: train the recipe points, a "
                "diffusion model with head=preconditioned"
            )
        if len(counts) < len(self.each):
            raise UserError(
                "this kind of model is of discrete data, and these have no number of levels: train a table with real "
                "columns by the recipe table, or round or group them"
            )
        return counts

    @property
    def count(self) -> int | None:
        """`levels`, or None where the data are not discrete."""
        return self.levels if self.discrete else None

    @property
    def levels(self) -> int:
        """The largest number of values of an element, at least 2. Raises `UserError` where one has no such number."""
        return max(2, *self.counts)

    @property
    def classes(self) -> int | None:
        """How many classes there are."""
        return None if self.labels is None else len(self.labels)

    @property
    def dtype(self) -> np.dtype:
        """Of x: the smallest unsigned type that holds all numbers of values, else float64."""
        if not self.discrete:
            return np.dtype(np.float64)
        return smallest(self.levels)

    @property
    def measure(self) -> str:
        """The dominating measure, in words."""
        found = sorted({kind.measure for kind in self.each})
        return " × ".join(found)

    @property
    def kind(self) -> str:
        """The kind of data, in words, and what a likelihood is stated against where it is no probability."""
        if self.discrete:
            return f"discrete, {self.levels} levels"
        mixed = any(kind.count is not None for kind in self.each)
        given = ", given the number of points" if self.layout.padded else ""
        return f"{'mixed' if mixed else 'continuous'}, {self.measure}{given}"

    @property
    def widest(self) -> int:
        """The largest number of values that an element has, 1 where it has no number of them."""
        return max(1, *(kind.count or 1 for kind in self.each))

    def label(self, name: str) -> int:
        """The number of a class by its name, or where none is called so, by its number from 0. Raises `UserError` with
        what there is."""
        if self.labels is None:
            raise UserError("these data have no classes")
        if name not in self.labels and name.isdecimal() and int(name) < len(self.labels):
            return int(name)
        if name not in self.labels:
            shown = ", ".join(self.labels[:20]) + (", …" if len(self.labels) > 20 else "")
            raise UserError(f"there is no class {name!r}; the classes are {shown}")
        return self.labels.index(name)


def levels_schema(shape: tuple[int, ...], levels: int, classes: int | None = None) -> Schema:
    """The schema of whole numbers 0 … levels − 1, with classes called by their numbers: images where there are three
    axes, else vectors (one), waves (two) or volumes (four). Raises `UserError` for what none of these has."""
    layouts: dict[int, type[Layout]] = {1: Vector, 2: Wave, 3: Image, 4: Volume}
    if len(shape) not in layouts:
        raise UserError(f"examples have from one to four axes, not {len(shape)}")
    labels = None if classes is None else tuple(map(str, range(admit(Classes, classes, "classes"))))
    return Schema(layout=layouts[len(shape)](tuple(shape)), kinds=Levels(levels), labels=labels)
