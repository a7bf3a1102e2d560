"""One picture file as an array, by one rule for every property that a picture may have, whatever format it is in.

Pixels are taken as stored: never stretched to other levels, never cut to fewer, never turned or recoloured. What would
have to be changed to fit is refused, and what has no say in the values is said.
"""

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vlb.base.errors import UserError
from vlb.data.formats.base import Declined
from vlb.data.formats.pnm import Pnm

# Pillow's other formats include ones that start an interpreter (PostScript).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
ORIENTATION, BITS_PER_SAMPLE, GAMMA = 0x0112, 258, "gamma"
PLAIN_MODES = ("1", "L", "P", "RGB")
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


@dataclass(frozen=True)
class Facts:
    """Of a picture file. bits: of a sample as stored, 8 for indices of a palette; most: the largest value that a sample
    may have."""

    mode: str
    bits: int
    most: int
    frames: int
    transparent: bool
    profile: bool
    orientation: int


@dataclass(frozen=True)
class Rule:
    """What becomes of a property. holds: whether a picture has it; refused: what to do, where it is refused; said: in
    the summary, where it is taken and said; else it is exact."""

    property: str
    holds: Callable[[Facts], bool]
    what: str
    refused: str = ""
    said: str = ""


RULES = (
    Rule(
        "several frames or pictures in a file (GIF, APNG, WebP, TIFF, PGM …)",
        lambda facts: facts.frames > 1,
        "refused",
        refused="has several frames; save each as an image of its own",
    ),
    Rule(
        "transparency: an alpha channel, or a transparent colour of grey, RGB or a palette (tRNS)",
        lambda facts: facts.transparent,
        "refused",
        refused="is transparent; put it on a background first, or drop the alpha channel (convert it to RGB)",
    ),
    Rule(
        "more than 8 bits a channel (PNG, TIFF, PGM and PPM with a largest value above 255)",
        lambda facts: facts.bits > 8 or facts.mode.startswith(("I", "F")),
        "refused, never cut to 8",
        refused="has more than 8 bits per channel; convert it to 8 bits, or give the images as an .npz file "
        "with an integer array `levels`",
    ),
    Rule(
        "from 2 to 7 bits a channel (PNG, TIFF, BMP of 16 bits)",
        lambda facts: 1 < facts.bits < 8 and facts.mode != "P",
        "refused, never stretched to 8",
        refused="has less than 8 bits per channel, which a reader would stretch; convert it to 8 bits, or give the "
        "images as an .npz file with an integer array `levels`",
    ),
    Rule(
        "other colours than grey and RGB (CMYK, LAB, YCbCr of TIFF)",
        lambda facts: facts.mode not in PLAIN_MODES,
        "refused",
        refused="has other colours than grey and RGB; convert it to grayscale or RGB",
    ),
    Rule(
        "a largest value below 255 (PGM, PPM)",
        lambda facts: facts.bits == 8 and facts.most < 255,
        "as stored: levels 0 … the largest value, the same in all pictures",
    ),
    Rule("one bit (PBM, PNG, BMP, TIFF)", lambda facts: facts.bits == 1, "as stored: two levels"),
    Rule("a palette (PNG, GIF, BMP, TIFF)", lambda facts: facts.mode == "P", "the colours that it stands for, RGB"),
    Rule(
        "a turned or mirrored picture (EXIF orientation)",
        lambda facts: facts.orientation != 1,
        "pixels as stored, and said",
        said="an EXIF orientation, which is not applied",
    ),
    Rule(
        "a colour profile or gamma",
        lambda facts: facts.profile,
        "pixels as stored, and said",
        said="a colour profile or gamma, which is not applied",
    ),
    Rule("lossy coding (JPEG, WebP)", lambda facts: False, "pixels as Pillow decodes them"),
)


class Picture(NamedTuple):
    """pixels: (C, H, W), uint8, or bool of one bit; most: the largest value of a sample; said: what was not applied."""

    pixels: np.ndarray
    most: int
    said: tuple[str, ...]


def read_picture(path: Path) -> Picture:
    """One picture. Raises `UserError`, naming the file, for what is no readable picture or refused by a rule."""
    content = path.read_bytes()
    if Pnm().recognises(path.name, content[:64]):
        values, facts = _netpbm(path, content)
    else:
        values, facts = _by_pillow(path, content)
    values = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    return Picture(values, facts.most, tuple(rule.said for rule in RULES if rule.said and rule.holds(facts)))


def table() -> str:
    """The rules as a table for people."""
    rows = "".join(f"| {rule.property} | {rule.what} |\n" for rule in RULES)
    return f"| property | what becomes of it |\n|---|---|\n{rows}"


def _checked(path: Path, facts: Facts) -> None:
    for rule in RULES:
        if rule.refused and rule.holds(facts):
            raise UserError(f"{path} {rule.refused}")


def _netpbm(path: Path, content: bytes) -> tuple[np.ndarray, Facts]:
    """Read by our own format, for Pillow stretches samples to 8 bits."""
    try:
        file = Pnm().read(content)
        most = Pnm().most(file)
    except Declined as error:
        raise UserError(f"{path} is no readable image ({error}); it may be truncated, get it again") from error
    values = file.members[0].values
    mode = "1" if values.dtype == bool else "RGB" if values.ndim == 3 else "L"
    facts = Facts(mode, 1 if mode == "1" else 8 if most < 256 else 16, most, Pnm().pictures(file), False, False, 1)
    _checked(path, facts)
    return values, facts


def _by_pillow(path: Path, content: bytes) -> tuple[np.ndarray, Facts]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decoder's remarks on metadata are no concern here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                facts = _facts(image, content)
                _checked(path, facts)
                return np.asarray(image.convert("RGB") if image.mode == "P" else image), facts
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path} is refused as a possible decompression bomb ({error}); leave it out") from error
    except Exception as error:  # on a damaged file a decoder may raise nearly anything
        raise UserError(f"{path} is no readable image ({error}); it may be truncated, get it again") from error


def _facts(image: Image.Image, content: bytes) -> Facts:
    # The second picture of an MPO file is a preview of the first.
    frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    transparent = image.mode in ALPHA_MODES or "transparency" in image.info
    profile = "icc_profile" in image.info or GAMMA in image.info
    bits = 1 if image.mode == "1" else _stored_bits(image, content)
    turned = int(image.getexif().get(ORIENTATION, 1))
    return Facts(image.mode, bits, 1 if bits == 1 else 255, frames, transparent, profile, turned)


def _stored_bits(image: Image.Image, content: bytes) -> int:
    """Of a sample, where the file says so: Pillow hands out 8 for fewer, and cuts some of more."""
    if image.mode == "P":
        return 8
    if image.format == "PNG":
        return content[24]
    if image.format == "BMP" and len(content) > 30:
        return 5 if struct.unpack_from("<H", content, 28)[0] == 16 else 8
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    said = tags.get(BITS_PER_SAMPLE, 8)
    return max(said) if isinstance(said, tuple) else int(said)
