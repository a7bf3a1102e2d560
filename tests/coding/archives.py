"""Archives without a network: a codec of independent values with everything else as in earnest."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.coding.toys import FORMATS
from vlb.base.errors import UserError
from vlb.base.walk import gather
from vlb.coding.allowance import Allowance
from vlb.coding.cells import TableCode
from vlb.coding.container import ArchiveReader
from vlb.coding.contents import Content
from vlb.coding.diffusion import DiffusionSettings
from vlb.coding.files import Formats
from vlb.coding.header import Header, Numerics
from vlb.coding.names import refuse_unstorable
from vlb.coding.reading import contents
from vlb.coding.sequence import Lanes, SequenceCodec
from vlb.coding.stack import BitStack, Underflow
from vlb.coding.summary import Summary
from vlb.coding.writing import Options, write_archive
from vlb.data import Column

SHAPE, LEVELS = (1, 6, 5), 16


class _Never:
    """Starts for no image, so that all are coded directly."""

    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        raise Underflow

    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        raise Underflow


def independent_codec(shape: tuple[int, ...] = SHAPE) -> SequenceCodec:
    weights = 0.7 ** np.arange(LEVELS)
    return SequenceCodec(_Never(), TableCode(np.tile(weights, (math.prod(shape), 1))), shape, Lanes(8))


def header(embedded: bool = False) -> Header:
    return Header(b"12345678", embedded, SHAPE, LEVELS, DiffusionSettings(2, (0, 90, 255)), Numerics("cpu", 1, (2, 13)))


def write(
    out: Path,
    *inputs: Path,
    model: bytes | None = None,
    columns: tuple[Column, ...] | None = None,
    formats: Formats = FORMATS,
) -> Summary:
    made = header(model is not None)
    if columns is not None:
        made = replace(made, shape=(len(columns),))
    codec = independent_codec(made.shape)
    files = gather(inputs).files
    refuse_unstorable(files)
    return write_archive(out, made, codec, files, formats, model, Options(columns=columns))


def read(path: Path, columns: tuple[Column, ...] | None = None) -> Iterator[tuple[int, Content | UserError]]:
    archive = ArchiveReader(path)
    return contents(archive, independent_codec(archive.header.shape), columns)


def pictures(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).geometric(0.3, (count, *SHAPE)).clip(1, LEVELS).astype(np.uint8) - 1


def allowed(path: Path) -> Allowance:
    """What an archive may become."""
    return Allowance(path.stat().st_size)
