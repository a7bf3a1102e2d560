"""A cascade as a code: the details by the code of their model given the coarse band, which is coded after them, and so
is there before them when they are decoded."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from vlb.coding.bitsback import Climbing
from vlb.coding.cells import Rows, TableCode
from vlb.coding.diffusion import DiffusionSettings, climbing, discretised
from vlb.coding.effort import placed
from vlb.coding.models import Coded, Measuring, Told, chosen_settings, coded_by, marginals
from vlb.coding.sequence import USUAL_LANES, Lanes, SequenceCodec
from vlb.coding.stack import BitStack
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.condition import UNCONDITIONAL
from vlb.measure.evaluation import Bounded
from vlb.models.cascade.model import CascadeModel, Cascading

MOST = 17  # bands: of no image can the sides be halved more often


@dataclass(frozen=True)
class CascadeSettings:
    """bands: how each is coded, in the order of `CascadeModel.walk`."""

    latent: ClassVar = True
    any_depth: ClassVar = True
    gaps: ClassVar = False
    usual: ClassVar = USUAL_LANES

    bands: tuple[DiffusionSettings, ...]

    @property
    def lanes(self) -> Lanes:
        return self.bands[0].lanes

    @property
    def passes(self) -> int:
        """Of the networks of all bands."""
        return sum(band.passes for band in self.bands)

    def write(self, writer: Writer) -> None:
        """As part of a header."""
        writer.number(len(self.bands))
        for band in self.bands:
            band.write(writer)

    @classmethod
    def read(cls, reader: Reader) -> "CascadeSettings":
        """The inverse of `write`. Raises `Damaged` for settings that make no sense."""
        count = reader.number(MOST)
        if count < 2:
            raise Damaged("a cascade of fewer than two bands")
        bands = tuple(DiffusionSettings.read(reader) for _ in range(count))
        if len({band.lanes for band in bands}) > 1:
            raise Damaged("bands of one batch that are not batched alike")
        return cls(bands)

    def codec(self, model: Coded) -> SequenceCodec:
        """The codec of a prepared model. Raises `Damaged` where it has other bands."""
        return SequenceCodec(Banded(fitting(model, self), self), marginals(model), model.shape, self.lanes)

    def bounded(self, model: Coded) -> Bounded:
        """The hierarchies that are coded with."""
        *details, coarse = (
            discretised(part, settings)
            for part, settings in zip((*fitting(model, self).details, model.coarse), self.bands, strict=True)
        )
        return Cascading(model.bands, model.shape, model.levels, coarse, details)

    def describe(self) -> dict[str, str]:
        """For people."""
        *details, coarse = (band.describe() for band in self.bands)
        named = [*((f"details {number}", found) for number, found in enumerate(details, 1)), ("coarse", coarse)]
        return {f"{name}: {what}": value for name, found in named for what, value in found.items()}


def fitting(model: Coded, settings: CascadeSettings) -> CascadeModel:
    """The model, if settings are of it. Raises `Damaged` where they are of another."""
    if coded_by(model) is not CascadeSettings or len(model.details) + 1 != len(settings.bands):
        raise Damaged("settings of a cascade of other bands")
    cascade: CascadeModel = model
    return cascade


class Banded:
    """The code of a batch of images, band by band."""

    def __init__(self, model: CascadeModel, settings: CascadeSettings) -> None:
        self.model, self.settings = model, settings

    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        whole = torch.tensor(x.astype(np.int64), device=self.model.coarse.device)
        parts = (*self.model.details, self.model.coarse)
        for part, band, settings in zip(parts, self.model.walk(whole, UNCONDITIONAL), self.settings.bands, strict=True):
            climbing(part, settings, band.condition).encode(stack, band.x.cpu().numpy(), salt)

    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        *finer, coarsest = self.settings.bands
        x = self._pop(climbing(self.model.coarse, coarsest), stack, count, salt)
        for part, settings in reversed(list(zip(self.model.details, finer, strict=True))):
            told = self.model.told(x, UNCONDITIONAL)
            details = self._pop(climbing(part, settings, told), stack, count, salt)
            x = self.model.bands.join(x, details, self.model.levels)
        return x.cpu().numpy()

    def _pop(self, code: Climbing, stack: BitStack, count: int, salt: int) -> torch.Tensor:
        return torch.from_numpy(code.decode(stack, count, salt)).to(self.model.coarse.device)


@coded_by.register
def _(model: CascadeModel) -> type[CascadeSettings]:
    return CascadeSettings


@marginals.register
def _(model: CascadeModel) -> Rows:
    """Even: of single elements of x it says nothing."""
    return TableCode(np.ones((int(np.prod(model.shape)), model.levels)))


@chosen_settings.register
def _(model: CascadeModel, by: Measuring, steps: int, lanes: Lanes) -> CascadeSettings:
    """Kernel and times of each band by themselves, kept in a file each."""
    chosen = []
    for number, part in enumerate((*model.details, model.coarse)):

        def examples(number: int = number) -> Told | None:
            found = by.examples()
            if found is None:
                return None
            band = list(model.walk(found[0].to(model.coarse.device), UNCONDITIONAL))[number]
            return band.x, band.condition

        chosen.append(placed(part, by, by.folder / f"coding-{number}.json", examples, steps, lanes))
    return CascadeSettings(tuple(chosen))
