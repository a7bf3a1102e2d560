"""How the elements of an example lie: as a vector or columns, an image, a wave, a volume, a set of points."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from vlb.base.configuration import Family
from vlb.base.domains import Count, Settings, Within
from vlb.base.errors import UserError
from vlb.core.position import MAPS

MOST_ELEMENTS = 1 << 31


@dataclass(frozen=True)
class Layout(Settings):
    """How the elements of an example lie: its shape, what each axis is, and what people call the elements."""

    axes: ClassVar[tuple[str, ...]] = ()
    elements: ClassVar[str] = "numbers"
    padded: ClassVar[bool] = False  # whether examples have fewer elements than the shape, and the rest are absent
    shape: tuple[Annotated[int, Within(1, MOST_ELEMENTS)], ...]

    def __post_init__(self) -> None:
        """Raises `UserError` unless there is a size for each axis, and for more elements than there can be."""
        super().__post_init__()
        if len(self.shape) != len(self.axes):
            raise UserError(f"examples have a size of each of {', '.join(self.axes)}, not {self.shape[:10]}")
        if math.prod(self.shape) > MOST_ELEMENTS:
            raise UserError(f"examples have at most {MOST_ELEMENTS:,} elements, not the shape {self.shape}")

    @property
    def grid(self) -> tuple[int, ...]:
        """The sizes of the axes along which elements have neighbours; none where places mean nothing."""
        return self.shape[1:] if self.axes[:1] == ("channels",) else ()

    def log_orders(self, elements: np.ndarray) -> np.ndarray | None:
        """The logarithm of how many arrays are one example of so many elements (n,), nats, where their order means
        nothing: (n,); else None."""
        return None

    @property
    def maps(self) -> int:
        """How many maps aligned with it, a condition's planes, an example comes with."""
        return 0


@dataclass(frozen=True)
class Vector(Layout):
    """(D,); a table is a vector of columns."""

    axes: ClassVar[tuple[str, ...]] = ("columns",)
    elements: ClassVar[str] = "columns"


@dataclass(frozen=True)
class Image(Layout):
    """(C, H, W)."""

    axes: ClassVar[tuple[str, ...]] = ("channels", "height", "width")
    elements: ClassVar[str] = "pixels"


@dataclass(frozen=True)
class Wave(Layout):
    """(C, T). rate: samples a second, where it is sound; mu_law: whether its 256 levels are the amplitudes of µ-law;
    position: whether a window of sound comes with where in its recording it lies (`core.position`)."""

    axes: ClassVar[tuple[str, ...]] = ("channels", "time")
    elements: ClassVar[str] = "samples"
    rate: Annotated[int, Within(1, (1 << 31) - 1)] | None = None
    mu_law: bool = False
    position: bool = False

    def __post_init__(self) -> None:
        """Raises `UserError` for positions in what is no sound."""
        super().__post_init__()
        if self.position and self.rate is None:
            raise UserError("positions are of windows of sound, and waves without a rate are none")

    @property
    def maps(self) -> int:
        return MAPS if self.position else 0


@dataclass(frozen=True)
class Volume(Layout):
    """(C, D, H, W)."""

    axes: ClassVar[tuple[str, ...]] = ("channels", "depth", "height", "width")
    elements: ClassVar[str] = "voxels"


@dataclass(frozen=True)
class Points(Layout):
    """(N, d): a set of N points of the plane or of space, whose order means nothing."""

    axes: ClassVar[tuple[str, ...]] = ("points", "coordinates")
    elements: ClassVar[str] = "coordinates"

    def log_orders(self, elements: np.ndarray) -> np.ndarray:
        """log n! of n points, nats."""
        return np.array([math.lgamma(count / self.shape[1] + 1) for count in elements])


@dataclass(frozen=True)
class VaryingPoints(Points):
    """(N, d): sets of at most N points, of which each example says how many it has: what is beyond is absent.

    numbers: of points, increasing, that clouds for training have; clouds: how many of them have each. They are no part
    of a density, which is of the points given their number, but say which numbers samples have.
    """

    padded: ClassVar[bool] = True
    numbers: tuple[Count, ...] = ()
    clouds: tuple[Count, ...] = ()

    def __post_init__(self) -> None:
        """Raises `UserError` unless there are numbers, increasing, of points that there can be."""
        super().__post_init__()
        if not self.numbers or len(self.clouds) != len(self.numbers) or list(self.numbers) != sorted(set(self.numbers)):
            raise UserError("clouds of several numbers of points say each number once, and how many of them have it")
        if self.numbers[-1] > self.shape[0]:
            raise UserError(f"clouds of {self.numbers[-1]} points are none of at most {self.shape[0]}")

    def quantiles(self, share: np.ndarray) -> np.ndarray:
        """The number of points that a share (n,), from 0 to below 1, of the clouds for training do not exceed: (n,)
        int64."""
        upto = np.cumsum(self.clouds)
        return np.array(self.numbers)[np.searchsorted(upto, share * upto[-1], "right")]


LAYOUTS = Family(
    "layout",
    {
        "vector": Vector,
        "image": Image,
        "wave": Wave,
        "volume": Volume,
        "points": Points,
        "varying-points": VaryingPoints,
    },
)
