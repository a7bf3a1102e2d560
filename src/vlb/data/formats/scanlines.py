"""Rows of a PNG picture as bytes, and the filters by which each is predicted from what was before (W3C, PNG §9)."""

import numpy as np

from vlb.data.formats.base import Declined

STRIP = 64  # rows that are filtered at once, for the memory that it takes
FILTERS = 5  # none, the left neighbour, the one above, the mean of both, Paeth's choice


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """values (H, W, C), unsigned of so many bits each -> (H, bytes) uint8; spare bits at the end of a row are 0."""
    flat = values.reshape(len(values), -1)
    if bits == 16:
        return flat.astype(">u2").view(np.uint8)
    if bits == 8:
        return flat.astype(np.uint8)
    places = np.unpackbits(flat.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
    return np.packbits(places.reshape(len(flat), -1), axis=1)


def unpacked(rows: np.ndarray, width: int, channels: int, bits: int) -> np.ndarray:
    """The inverse: (H, width, channels) uint8, uint16 where there are 16 bits. Raises `Declined` where a row holds more
    than its values."""
    count = width * channels
    if bits == 16:
        flat = rows.view(">u2").astype(np.uint16)
    elif bits == 8:
        flat = rows
    else:
        places = np.unpackbits(rows, axis=1)
        if places[:, count * bits :].any():
            raise Declined("a PNG file whose rows hold more than pixels")
        weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.uint8)
        flat = (places[:, : count * bits].reshape(len(rows), count, bits) * weights).sum(-1, dtype=np.uint8)
    return flat.reshape(len(rows), width, channels)


def filtered(rows: np.ndarray, step: int, choose: bool) -> np.ndarray:
    """rows (H, B) uint8 as differences from their predictions, each behind the number of its filter: (H, 1 + B).

    step: bytes from a pixel to the next; choose: take for each row the filter whose differences, as signed bytes, have
    the least sum of absolute values, and no filter otherwise.
    """
    if not choose:
        return np.pad(rows, ((0, 0), (1, 0)))
    before, lines = np.pad(rows, ((1, 0), (step, 0))), np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    for start in range(0, len(rows), STRIP):
        lines[start : start + STRIP] = _filtered(before[start : start + STRIP + 1], step)
    return lines


def unfiltered(lines: np.ndarray, step: int) -> np.ndarray:
    """The inverse of `filtered`: (H, B) uint8. Raises `Declined` for a filter that there is not."""
    kinds, rows = lines[:, 0], lines[:, 1:]
    if kinds.max(initial=0) >= FILTERS:
        raise Declined("a PNG file whose pixels are damaged (an unknown filter)")
    if not kinds.any():
        return rows
    height, width = len(rows), rows.shape[1] // step
    given = rows.reshape(height, width, step).astype(np.int16)
    done = np.zeros((height + 1, width + 1, step), np.int16)  # behind a row and a column of zeros
    for diagonal in range(height + width - 1):  # whose pixels depend on those of the diagonals before alone
        y = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x = diagonal - y
        left, up, corner = done[y + 1, x], done[y, x + 1], done[y, x]
        guesses = (np.zeros_like(left), left, up, (left + up) >> 1, _paeth(left, up, corner))
        done[y + 1, x + 1] = (given[y, x] + np.choose(kinds[y, None], guesses)) & 255
    return done[1:, 1:].astype(np.uint8).reshape(height, -1)


def _filtered(before: np.ndarray, step: int) -> np.ndarray:
    """Rows behind one row and `step` columns that come before them."""
    rows = before[1:, step:]
    left, up, corner = (part.astype(np.int16) for part in (before[1:, :-step], before[:-1, step:], before[:-1, :-step]))
    guesses = np.stack((np.zeros_like(left), left, up, (left + up) >> 1, _paeth(left, up, corner)))
    differences = (rows - guesses).astype(np.uint8)
    sizes = np.abs(differences.view(np.int8).astype(np.int16)).sum(-1, dtype=np.int64)
    kinds = sizes.argmin(0)
    return np.concatenate((kinds[:, None].astype(np.uint8), differences[kinds, np.arange(len(rows))]), axis=1)


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The neighbour nearest to left + up − corner; of equally near ones the first."""
    to_left, to_up = np.abs(up - corner), np.abs(left - corner)
    to_corner = np.abs(left + up - 2 * corner)
    nearest = np.where((to_left <= to_up) & (to_left <= to_corner), left, up)
    return np.where((to_corner < to_left) & (to_corner < to_up), corner, nearest)
