"""What a model has to beat: codes that know nothing, one pixel at a time, or only repetition.

A generative model that loses to independent pixels has not learned anything, so these numbers belong
beside every result.
"""

import lzma
import math
from io import BytesIO

import numpy as np
from PIL import Image

from vlb.base.errors import UserError, suggestion
from vlb.core.layouts import Points
from vlb.core.marginals import chunks, counts
from vlb.core.schema import smallest
from vlb.data.dataset import Dataset, Split
from vlb.data.independent import MixedPoint, independent


def baselines(data: Dataset, split: str) -> dict[str, float]:
    """Bits per dimension of one split ('train', 'validation' or 'test') under three plain codes.

    Of a table with real columns, independent columns alone (`IndependentColumns`); of points, one Gaussian in each
    coordinate and a mixture of Gaussians, points being independent (`GaussianPoint`, `MixedPoint`); of pieces, in
    place of lzma, `png`: each whole picture as one such file, where pixels are of 8 bits or one. Of discrete data:

    - uniform: log2 K, the mean over columns where they have K of their own;
    - independent_pixels: mean negative log-likelihood under `data.log_marginals`, fitted on train (test
      split of digits: 2.426; were validation in the fit too, 2.424);
    - lzma: the length of the split's raw values in order (uint8, or little-endian uint16 above 256
      levels) as one xz file, preset 9 extreme. It takes about a second per megabyte.

    Raises `UserError` for an unknown split.
    """
    x = data.split(split).x
    if not data.schema.plain:
        part = data.split(split)
        names = ("independent-pixels", MIXTURE) if isinstance(data.schema.layout, Points) else ("independent-pixels",)
        means = {name: float(per_example(name, data, part).mean()) if len(x) else 0.0 for name in names}
        return {name.replace("-", "_"): mean / part.dimensions / math.log(2) for name, mean in means.items()}
    if data.schema.pieces is not None:
        part = data.split(split)
        nats = per_example("independent-pixels", data, part).mean() / part.dimensions
        known = {"uniform": math.log2(data.levels), "independent_pixels": float(nats) / math.log(2)}
        return (
            known
            if part.thing is None or data.levels not in (2, 256)
            else known | {"png": _png_rate(part, data.levels)}
        )
    if data.schema.laws == data.dimensions:
        nats = -float((counts(x, data.levels) * data.log_marginals).sum()) / x.size
    else:  # a count for each element and level would be too many
        nats = float(per_example("independent-pixels", data, data.split(split)).mean()) / data.dimensions
    return {
        "uniform": uniform(data) / data.dimensions / math.log(2),
        "independent_pixels": nats / math.log(2),
        "lzma": 8 * _packed_length(x, data.levels) / x.size,
    }


MOST_LISTED = 1 << 16  # levels: of more, most are in no example
PIECES = 100  # that are looked at together
MIXTURE = "mixture-of-points"
PER_EXAMPLE = ("independent-pixels", "uniform", MIXTURE)


def per_example(name: str, data: Dataset, split: Split) -> np.ndarray:
    """−log p(x) of every example of `split`, (n,) float64 nats, under one of the `PER_EXAMPLE` baselines.

    `independent-pixels` is fitted on the train split of `data`. Raises `UserError` for another name, and for
    examples of another shape than the data's.
    """
    if tuple(split.x.shape[1:]) != data.shape:
        raise UserError(f"the baseline is of examples of shape {data.shape}, these have {tuple(split.x.shape[1:])}")
    if name == MIXTURE:
        if not isinstance(data.schema.layout, Points) or data.schema.plain:
            raise UserError(f"{MIXTURE} is a baseline of clouds of points: compare with independent-pixels")
        return -MixedPoint(data.train).log_prob(split)
    if name == "uniform" and not data.schema.plain:
        raise UserError(
            f"{data.schema.layout.elements} like these have no uniform law: compare with independent-pixels"
        )
    if name == "independent-pixels" and not data.schema.plain:
        return -independent(data.schema, data.train).log_prob(split)
    if name == "uniform" and split.counted is not None:
        return split.counted * math.log(data.levels)
    if name == "uniform":
        return np.full(len(split), uniform(data))
    if name != "independent-pixels":
        raise UserError(f"there is no baseline {name!r}; {suggestion(name, PER_EXAMPLE)}")
    if data.levels > MOST_LISTED:
        return _unlisted(data, split)
    log_p, each = data.log_marginals, np.arange(data.dimensions)
    if data.schema.pieces is not None:
        found = np.zeros(len(split))
        for start in range(0, len(split), PIECES):
            some = split.take(np.arange(start, min(start + PIECES, len(split))))
            nats = -log_p[each, some.x.reshape(len(some), -1)]
            found[start : start + len(some)] = np.where(some.modelled.reshape(len(some), -1), nats, 0.0).sum(1)
        return found
    parts = [-log_p[each, part.reshape(len(part), -1)].sum(1) for part in chunks(split.x)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _unlisted(data: Dataset, split: Split) -> np.ndarray:
    """The law of `data.log_marginals` where it would be too long to list: the levels that there are, counted."""
    laws, nats = data.schema.laws, np.zeros(len(split))
    train, held = (x.reshape(len(x), laws, -1) for x in (data.train.x, split.x))
    for law in range(laws):
        values, found = np.unique(train[:, law], return_counts=True)
        places = np.searchsorted(values, held[:, law]).clip(max=len(values) - 1)
        seen = np.where(values[places] == held[:, law], found[places], 0)
        nats -= np.log((seen + 1) / (train[:, law].size + data.levels)).sum(-1)
    return nats


def uniform(data: Dataset) -> float:
    """−log p of an example whose every value is as likely as any other of its element, nats."""
    counts = data.schema.counts
    return sum(math.log(count) for count in counts) * data.dimensions / len(counts)


def _png_rate(split: Split, levels: int) -> float:
    """Bits per dimension of the things that pieces are of, each as a PNG file by itself."""
    assert split.whole is not None and split.thing is not None
    length = values = 0
    for number in np.unique(split.whole):
        thing = split.thing(int(number))
        pixels = thing[0] if len(thing) == 1 else thing.transpose(1, 2, 0)
        pixels = pixels.astype(bool) if levels == 2 else pixels
        buffer = BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
        length, values = length + len(buffer.getvalue()), values + thing.size
    return 8 * length / values


def _packed_length(x: np.ndarray, levels: int) -> int:
    packer = lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)
    length = 0
    for chunk in chunks(x):
        length += len(packer.compress(np.ascontiguousarray(chunk, smallest(levels).newbyteorder("<")).tobytes()))
    return length + len(packer.flush())
