"""Samples and data as pictures: images as they are, volumes as they look from outside."""

import math
from io import BytesIO

import numpy as np
from PIL import Image

from vlb.base.errors import UserError
from vlb.generate.volumes import surface


def drawable(shape: tuple[int, ...]) -> bool:
    """Whether examples of this shape are images of one, three or four channels, or volumes of one."""
    return (len(shape) == 3 and shape[0] in (1, 3, 4)) or (len(shape) == 4 and shape[0] == 1)


def grid(x: np.ndarray, levels: int, columns: int | None = None, margin: int = 1) -> np.ndarray:
    """Images x (n, C, H, W), or volumes (n, 1, D, H, W) by their `surface`, of integers below `levels` as one picture
    (rows, columns[, 3 or 4]) of uint8.

    Raises `UserError` for examples that are not `drawable`.
    """
    if not drawable(x.shape[1:]):
        raise UserError(
            "only images of 1, 3 or 4 channels and volumes of 1 can be drawn, not examples of shape "
            f"{x.shape[1:]}: use .npz"
        )
    if x.ndim == 5:
        x, levels = surface(x, levels), 256
    n, channels, height, width = x.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    canvas = np.full((rows * (height + margin) + margin, columns * (width + margin) + margin, channels), 255, np.uint8)
    scaled = np.round(x.astype(np.float64) * (255 / max(1, levels - 1))).astype(np.uint8)
    for i, image in enumerate(scaled):
        top, left = margin + i // columns * (height + margin), margin + i % columns * (width + margin)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return canvas.squeeze(-1) if channels == 1 else canvas


def png(picture: np.ndarray, scale: int = 1) -> bytes:
    """A uint8 picture (H, W[, 3 or 4]) as PNG, every pixel enlarged `scale` times."""
    buffer = BytesIO()
    enlarged = picture.repeat(scale, 0).repeat(scale, 1)
    Image.fromarray(enlarged).save(buffer, "PNG")
    return buffer.getvalue()
