"""What other lossless codecs make of the same images: PNG, WebP, JPEG-XL (each by itself and as one mosaic), LZMA.

Needs `imagecodecs` (the extra `bench`).
"""

import lzma
import math
from collections.abc import Callable

import imagecodecs
import numpy as np

ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "PNG": lambda image: imagecodecs.png_encode(image, level=9),
    "WebP": lambda image: imagecodecs.webp_encode(
        np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image, lossless=True, method=6
    ),
    "JPEG-XL": lambda image: imagecodecs.jpegxl_encode(image, lossless=True, effort=9),
}
WIDEST = 16_000  # pixels on a side, WebP's limit


def mosaic(x: np.ndarray) -> np.ndarray:
    """Images (n, C, H, W) as one, (H', W') or (H', W', 3), black where there are none left."""
    count, channels, height, width = x.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, channels, height, width), x.dtype)
    padded[:count] = x
    grid = padded.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    image = grid.reshape(rows * height, columns * width, channels)
    return np.ascontiguousarray(image[..., 0] if channels == 1 else image)


def sizes(x: np.ndarray) -> dict[str, int]:
    """Bytes per codec for uint8 images (n, C, H, W)."""
    found = {"LZMA of all": len(lzma.compress(x.tobytes(), preset=9 | lzma.PRESET_EXTREME))}
    singles = [mosaic(image[None]) for image in x]
    whole = mosaic(x)
    for name, encode in ENCODERS.items():
        found[f"{name}, single"] = sum(len(encode(image)) for image in singles)
        if max(whole.shape) <= WIDEST:
            found[f"{name}, mosaic"] = len(encode(whole))
    return found
