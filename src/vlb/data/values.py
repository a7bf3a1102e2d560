"""Checks on the values and the shape of arrays that a person brings."""

import numpy as np

from vlb.base.errors import UserError
from vlb.core.marginals import chunks
from vlb.core.schema import smallest

MAX_LEVELS = 1 << 16
CHANNELS = (1, 3, 4)


def checked_levels(levels: int, what: str) -> int:
    """`levels` if it is a number of levels that can be stored (2..65536), else `UserError`."""
    if not 2 <= levels <= MAX_LEVELS:
        raise UserError(f"{what}: levels = {levels}; give a number from 2 to {MAX_LEVELS}")
    return levels


def default_levels(x: np.ndarray, what: str) -> int:
    """The levels of an array that does not say: 2 for booleans, 256 for integers.

    Raises `UserError` for anything else: a float array does not say what its steps are.
    """
    if x.dtype.kind == "b":
        return 2
    if x.dtype.kind in "iu":
        return 256
    # A clearer complaint than "which levels?" comes first where the values are not whole numbers at all.
    as_levels(x, MAX_LEVELS, what)
    raise UserError(
        f"{what} is an array of {x.dtype}; give integer data: whole numbers as uint8 (256 levels), or say "
        "how many levels they have"
    )


SAY_LEVELS = (
    "mend the data, or say how many levels they have: levels= in Python, or an integer array named `levels` in an "
    ".npz file"
)


def as_levels(x: np.ndarray, levels: int, what: str, cure: str = SAY_LEVELS) -> np.ndarray:
    """x (n, *shape) in the smallest unsigned type, every value known to be in 0..levels-1.

    An array that already has the right type is returned as it is, not copied. Raises `UserError`,
    naming `what`, the example and the value, for anything that is not a whole number in that range; `cure` says what to
    do about too large ones.
    """
    if x.dtype.kind not in "biuf":
        raise UserError(f"{what} is an array of {x.dtype}; give integer data, such as uint8")
    dtype = smallest(levels)
    out = x if x.dtype == dtype else np.empty(x.shape, dtype)
    start = 0
    for chunk in chunks(x):
        _check(chunk, start, levels, what, cure)
        if out is not x:
            out[start : start + len(chunk)] = chunk
        start += len(chunk)
    return out


def as_images(x: np.ndarray, what: str) -> np.ndarray:
    """A view of x as (n, C, H, W).

    (n, H, W) gets one channel. Four axes are (n, C, H, W) if the second axis is 1, 3 or 4, otherwise
    (n, H, W, C) if the last one is; where both are, the channels are taken to come first. Any other
    shape raises `UserError`.
    """
    if x.ndim not in (3, 4):
        raise UserError(f"{what} has shape {x.shape}; give images as (n, H, W), (n, C, H, W) or (n, H, W, C)")
    if 0 in x.shape[1:]:
        raise UserError(f"{what} has shape {x.shape}: its images have no pixels; give larger ones")
    if x.ndim == 3:
        return x[:, None]
    if x.shape[1] in CHANNELS:
        return x
    if x.shape[3] in CHANNELS:
        return x.transpose(0, 3, 1, 2)
    raise UserError(
        f"{what} has shape {x.shape}: neither the second nor the last axis is 1, 3 or 4 channels; "
        "give images as (n, C, H, W) or (n, H, W, C)"
    )


def _check(chunk: np.ndarray, start: int, levels: int, what: str, cure: str) -> None:
    if chunk.dtype.kind == "b" or chunk.size == 0:
        return
    if chunk.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            fractions = ~(chunk == np.floor(chunk))  # true for NaN as well
        fractions |= np.isinf(chunk)
        if fractions.any():
            where = np.unravel_index(int(fractions.argmax()), fractions.shape)
            raise UserError(
                f"{what}: example {start + int(where[0])} holds {chunk[where]}, not a whole number; give "
                "integer data (undo any scaling to [0, 1] or [-1, 1], and save as uint8)"
            )
    low, high = chunk.min(), chunk.max()
    if low >= 0 and high < levels:
        return
    wrong = (chunk < 0) if low < 0 else (chunk >= levels)
    where = np.unravel_index(int(wrong.argmax()), wrong.shape)
    value = int(chunk[where])
    mend = "values start at 0: shift them" if value < 0 else cure
    raise UserError(
        f"{what}: example {start + int(where[0])} holds {value}, outside 0..{levels - 1} ({levels} levels); {mend}"
    )
