"""What a model has to beat: codes that know nothing, one pixel at a time, or only repetition.

A generative model that loses to independent pixels has not learned anything, so these numbers belong
beside every result.
"""

import lzma
import math

import numpy as np

from vlb.base.errors import UserError, suggestion
from vlb.core.marginals import chunks, counts
from vlb.data.dataset import Dataset, Split
from vlb.data.independent import IndependentColumns


def baselines(data: Dataset, split: str) -> dict[str, float]:
    """Bits per dimension of one split ('train', 'validation' or 'test') under three plain codes.

    Of a table with real columns, independent columns alone (`IndependentColumns`). Of discrete data:

    - uniform: log2 K, the mean over columns where they have K of their own;
    - independent_pixels: mean negative log-likelihood under `data.log_marginals`, fitted on train (test
      split of digits: 2.426; were validation in the fit too, 2.424);
    - lzma: the length of the split's raw values in order (uint8, or little-endian uint16 above 256
      levels) as one xz file, preset 9 extreme. It takes about a second per megabyte.

    Raises `UserError` for an unknown split.
    """
    x = data.split(split).x
    if data.schema.gaps:
        part = data.split(split)
        nats = per_example("independent-pixels", data, part).mean() if len(x) else 0.0
        return {"independent_pixels": float(nats) / part.dimensions / math.log(2)}
    if data.schema.pieces is None:
        nats = -float((counts(x, data.levels) * data.log_marginals).sum()) / x.size
    else:  # (D, K) counts would be too many
        nats = float(per_example("independent-pixels", data, data.split(split)).mean()) / data.dimensions
    return {
        "uniform": uniform(data) / data.dimensions / math.log(2),
        "independent_pixels": nats / math.log(2),
        "lzma": 8 * _packed_length(x, data.levels) / x.size,
    }


PER_EXAMPLE = ("independent-pixels", "uniform")


def per_example(name: str, data: Dataset, split: Split) -> np.ndarray:
    """−log p(x) of every example of `split`, (n,) float64 nats, under one of the `PER_EXAMPLE` baselines.

    `independent-pixels` is fitted on the train split of `data`. Raises `UserError` for another name, and for
    examples of another shape than the data's.
    """
    if tuple(split.x.shape[1:]) != data.shape:
        raise UserError(f"the baseline is of examples of shape {data.shape}, these have {tuple(split.x.shape[1:])}")
    if data.schema.gaps:
        if name == "uniform":
            raise UserError("a table with gaps has no uniform law here: compare with independent-pixels")
        if name == "independent-pixels":
            return -IndependentColumns(data.schema, data.train).log_prob(split)
    if name == "uniform":
        return np.full(len(split), uniform(data))
    if name != "independent-pixels":
        raise UserError(f"there is no baseline {name!r}; {suggestion(name, PER_EXAMPLE)}")
    log_p, each = data.log_marginals, np.arange(data.dimensions)
    parts = [-log_p[each, part.reshape(len(part), -1)].sum(1) for part in chunks(split.x)]
    return np.concatenate(parts) if parts else np.zeros(0)


def uniform(data: Dataset) -> float:
    """−log p of an example whose every value is as likely as any other of its element, nats."""
    counts = data.schema.counts
    return sum(math.log(count) for count in counts) * data.dimensions / len(counts)


def _packed_length(x: np.ndarray, levels: int) -> int:
    packer = lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)
    length = 0
    for chunk in chunks(x):
        length += len(packer.compress(np.ascontiguousarray(chunk, "u1" if levels <= 256 else "<u2").tobytes()))
    return length + len(packer.flush())
