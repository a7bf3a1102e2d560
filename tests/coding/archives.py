"""Archives without a network: a codec of independent values with everything else as in earnest."""

from pathlib import Path

import numpy as np

from vlb.base.walk import gather
from vlb.coding.container import Header, Numerics
from vlb.coding.diffusion import DiffusionSettings
from vlb.coding.sequence import Lanes, SequenceCodec
from vlb.coding.sources import items
from vlb.coding.stack import BitStack, Underflow
from vlb.coding.writing import Options, Summary, write_archive

SHAPE, LEVELS = (1, 6, 5), 16


class _Never:
    """Starts for no image, so that all are coded directly."""

    def encode(self, stack: BitStack, x: np.ndarray, salt: int = 0) -> None:
        raise Underflow

    def decode(self, stack: BitStack, count: int, salt: int = 0) -> np.ndarray:
        raise Underflow


def independent_codec() -> SequenceCodec:
    weights = 0.7 ** np.arange(LEVELS)
    return SequenceCodec(_Never(), np.tile(weights, (30, 1)), SHAPE, Lanes(8))


def header(embedded: bool = False) -> Header:
    return Header(b"12345678", embedded, SHAPE, LEVELS, DiffusionSettings(2, (0, 90, 255)), Numerics("cpu", 1, (2, 13)))


def write(out: Path, *inputs: Path, model: bytes | None = None) -> Summary:
    return write_archive(
        out,
        header(model is not None),
        independent_codec(),
        items(gather(inputs).files, SHAPE, LEVELS),
        model,
        Options(),
    )


def pictures(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).geometric(0.3, (count, *SHAPE)).clip(1, LEVELS).astype(np.uint8) - 1
