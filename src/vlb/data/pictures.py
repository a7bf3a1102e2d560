"""One picture file as an array for training and scoring: pixels as stored, by one rule for each property.

`RULES` are the same for every kind of file. What is exact is read at its own levels, what is said is dropped or changed
and counted for a folder, what is refused is named with what to do; docs/data.md shows them as a table.
"""

import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from vlb.base.errors import UserError
from vlb.data.ends import end_of
from vlb.data.formats.png import Png
from vlb.data.formats.pnm import Pnm

# Pillow's other formats include ones that start an interpreter (PostScript).
DECODED = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
UNSAID = 256  # levels of 8 bits, which a file has whatever its values are
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
HEAD = 64
COLOUR = 25  # where a PNG file says its colours, behind its bits
DEEP = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}  # what these are with 16 bits
CHANNELS = {"1": 1, "L": 1, "P": 3, "RGB": 3, "RGBA": 4}  # of the modes that are read
BITS_PER_SAMPLE = 258  # TIFF's tag
PROFILES = ("icc_profile", "gamma", "srgb", "chromaticity")
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # from a picture upright to what an EXIF orientation stores
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: np.swapaxes(x, 0, 1),
    6: np.rot90,
    7: lambda x: np.swapaxes(np.rot90(x, 2), 0, 1),
    8: lambda x: np.rot90(x, -1),
}


@dataclass(frozen=True)
class PictureFacts:
    """What a file says of its picture beside the pixels.

    mode: Pillow's name for its channels; most: the largest value that a sample may have as stored, on the scale of the
    file; deep: whether samples of more than 8 bits are read as they are; widened: whether channels of 5 or 6 bits are
    read as 8; several, further: whether it holds more pictures, as frames or as a camera's other views; orientation:
    EXIF's, 1 where the picture is stored as it is to be seen; behind, short: whether the file goes on behind the
    picture's end, or ends before it.
    """

    mode: str
    most: int
    deep: bool = False
    widened: bool = False
    several: bool = False
    further: bool = False
    transparent: bool = False
    orientation: int = 1
    profile: bool = False
    behind: bool = False
    short: bool = False


class Outcome(Enum):
    """What becomes of a property."""

    EXACT = "exact"
    SAID = "said"
    REFUSED = "refused"


@dataclass(frozen=True)
class Rule:
    """words: how it is read, what is said of a folder, or the end of a sentence that refuses a file."""

    property: str
    outcome: Outcome
    holds: Callable[[PictureFacts], bool]
    words: str


RULES = (
    Rule(
        "several frames or pictures",
        Outcome.REFUSED,
        lambda facts: facts.several,
        "has several frames; save each as an image of its own",
    ),
    Rule(
        "grey with alpha, or a transparent colour or palette",
        Outcome.REFUSED,
        lambda facts: facts.transparent,
        "is transparent; put it on a background first, or convert it to RGB, or to RGBA, whose alpha is a channel",
    ),
    Rule(
        "more than 8 bits per channel, but of PNG, PGM and PPM",
        Outcome.REFUSED,
        lambda facts: facts.most > 255 and not facts.deep,
        "has more than 8 bits per channel; convert it to a PNG of 16 bits, or to 8 bits, or give the images as an .npz "
        "file with an integer array `levels`",
    ),
    Rule(
        "channels other than grey, RGB, RGBA or a palette (CMYK, LAB, YCbCr …)",
        Outcome.REFUSED,
        lambda facts: facts.mode not in CHANNELS,
        "has the mode {mode}; convert it to grayscale or RGB",
    ),
    Rule("one bit", Outcome.EXACT, lambda facts: facts.mode == "1", "one channel of 2 levels"),
    Rule(
        "8 bits, grey or RGB",
        Outcome.EXACT,
        lambda facts: facts.mode in ("L", "RGB") and facts.most == 255,
        "one or three channels of 256 levels, or of those that are given",
    ),
    Rule(
        "a largest value below 255 (PGM, PPM, grey of 2 or 4 bits)",
        Outcome.EXACT,
        lambda facts: facts.mode in ("L", "RGB") and facts.most < 255,
        "values as stored, never stretched; as many levels as it says, which must be the same in the whole folder",
    ),
    Rule(
        "more than 8 bits of PNG, PGM and PPM",
        Outcome.EXACT,
        lambda facts: facts.deep,
        "values as stored: 65,536 levels, or as many as it says; for a model with --set model.head=preconditioned",
    ),
    Rule("a palette", Outcome.EXACT, lambda facts: facts.mode == "P", "the colours that its indices stand for, as RGB"),
    Rule(
        "RGB with alpha",
        Outcome.SAID,
        lambda facts: facts.mode == "RGBA",
        "an alpha channel, which is a fourth channel of the model",
    ),
    Rule(
        "5 or 6 bits per channel (BMP of 16 bits)",
        Outcome.SAID,
        lambda facts: facts.widened,
        "channels of 5 or 6 bits, which are read as 8",
    ),
    Rule(
        "a camera's further views (MPO)",
        Outcome.SAID,
        lambda facts: facts.further,
        "further pictures in one file, of which only the first is read",
    ),
    Rule(
        "EXIF orientation",
        Outcome.SAID,
        lambda facts: facts.orientation != 1,
        "an EXIF orientation, which is not applied: pixels are taken as stored",
    ),
    Rule(
        "a colour profile (ICC, gamma, sRGB, chromaticities)",
        Outcome.SAID,
        lambda facts: facts.profile,
        "a colour profile, which is not applied: pixels are taken as stored",
    ),
    Rule(
        "bytes behind the picture's end (of TIFF not looked for)",
        Outcome.SAID,
        lambda facts: facts.behind,
        "bytes behind the picture's end, a further picture perhaps, which are not read",
    ),
    Rule(
        "a file cut short behind its last pixel",
        Outcome.SAID,
        lambda facts: facts.short,
        "a file that is cut short, though no pixel is missing",
    ),
)


class Picture(NamedTuple):
    """values: (C, H, W), uint8, uint16 or (one-bit pictures) bool, as stored; levels: how many values the file says a
    sample can have; said: the rules of what is to be said of it."""

    values: np.ndarray
    levels: int
    said: tuple[Rule, ...]


class DamagedPicture(UserError):
    """A file that no picture could be read from, though its name says that it is one."""


class Sketch(NamedTuple):
    """What a file says of its picture without all of it being decoded. shape: (C, H, W); levels, said: as of a
    `Picture`; digest: SHA-256 of the file."""

    shape: tuple[int, int, int]
    levels: int
    said: tuple[Rule, ...]
    digest: bytes


def read_picture(path: Path) -> Picture:
    """One picture. Raises `UserError`, naming it, if it will not do, and `DamagedPicture` where it is none."""
    with _explained(path):
        return _picture(path, path.read_bytes())


def sketch_picture(path: Path) -> Sketch:
    """What is known of one picture from its head and its end; decoded is only what says too little there, or ends too
    early. Raises `UserError` as `read_picture` does, but for damage between the two."""
    with _explained(path):
        content = path.read_bytes()
        digest, end = sha256(content).digest(), end_of(content)
        if end is None or end > len(content):
            found = _picture(path, content)
            channels, height, width = found.values.shape
            return Sketch((channels, height, width), found.levels, found.said, digest)
        with _opened(content) as image:
            facts = _facts(image, content)
            _check(facts, path)
            width, height = image.size
        return Sketch((CHANNELS[facts.mode], height, width), _levels(facts), _said(facts), digest)


def _picture(path: Path, content: bytes) -> Picture:
    netpbm = Pnm().recognises(path.name, content[:HEAD])
    facts, values = _netpbm(path, content) if netpbm else _decoded(path, content)
    values = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    return Picture(values, _levels(facts), _said(facts))


def _levels(facts: PictureFacts) -> int:
    return UNSAID if facts.mode == "P" else facts.most + 1


def _said(facts: PictureFacts) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if rule.outcome is Outcome.SAID and rule.holds(facts))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path} is refused as a possible decompression bomb ({error}); leave it out") from error
    except Exception as error:  # on a damaged file a decoder may raise nearly anything
        why = "no format that is known" if isinstance(error, UnidentifiedImageError) else error  # it names a buffer
        raise DamagedPicture(f"{path} is no readable image ({why}); it may be truncated, get it again") from error


class Tally:
    """What is said of the pictures of a folder: each thing once, with how many there are and the first of them."""

    def __init__(self) -> None:
        self._read = 0
        self._counts: Counter[Rule] = Counter()
        self._first: dict[Rule, str] = {}

    def add(self, said: Iterable[Rule], name: str) -> None:
        """What is said of one more picture; name: its path, as it is to be shown."""
        self._read += 1
        for rule in said:
            self._counts[rule] += 1
            self._first.setdefault(rule, name)

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence each, without its full stop."""
        return tuple(
            f"{rule.words} ({self._counts[rule]:,} of {self._read:,}, the first {self._first[rule]})"
            for rule in RULES
            if rule in self._counts
        )


def table() -> str:
    """The rules, as docs/data.md has them."""
    rows = (f"| {rule.property} | {rule.outcome.value} | {rule.words.format(mode='…')} |\n" for rule in RULES)
    return "| property | outcome | what is done, or said |\n|---|---|---|\n" + "".join(rows)


def _check(facts: PictureFacts, path: Path) -> None:
    for rule in RULES:
        if rule.outcome is Outcome.REFUSED and rule.holds(facts):
            raise UserError(f"{path} {rule.words.format(mode=facts.mode)}")


def _netpbm(path: Path, content: bytes) -> tuple[PictureFacts, np.ndarray]:
    """Read by its own format, for Pillow stretches values to 255."""
    file = Pnm().read(content)
    values = file.members[0].values
    mode = "1" if values.dtype == np.bool_ else "L" if values.ndim == 2 else "RGB"
    most = Pnm().most(file)
    facts = PictureFacts(mode, most, most > 255, several=Pnm().several(file), behind=bool(Pnm().behind(file).strip()))
    _check(facts, path)
    return facts, values


def _decoded(path: Path, content: bytes) -> tuple[PictureFacts, np.ndarray]:
    with _opened(content) as image:
        facts = _facts(image, content)
        _check(facts, path)
        if facts.deep:
            return facts, Png().read(content).members[0].values  # Pillow cuts most to 8 bits
        values = np.asarray(image.convert("RGB") if image.mode == "P" else image)
        if image.format == "TIFF" and facts.orientation != 1:
            values = TURNS[facts.orientation](values)  # Pillow turns these as it reads, and no others
    if facts.mode == "L" and facts.most < 255:
        values = values // np.uint8(255 // facts.most)  # Pillow stretches them
    return facts, values


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a decoder's remarks on metadata are no concern here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(BytesIO(content), formats=DECODED) as image:
            yield image


def _facts(image: Image.Image, content: bytes) -> PictureFacts:
    info, head = image.info, content[:HEAD]
    deep = head.startswith(PNG_MAGIC) and len(head) > COLOUR and head[COLOUR - 1] == 16
    mode = DEEP.get(head[COLOUR], image.mode) if deep else image.mode
    end = end_of(content)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    many = getattr(image, "is_animated", False)
    return PictureFacts(
        mode,
        (1 << _bits(image, head)) - 1,
        deep,
        widened=image.format == "BMP" and len(head) >= 30 and struct.unpack_from("<H", head, 28)[0] == 16,
        several=many and image.format != "MPO",
        further=many and image.format == "MPO",
        transparent=mode in ("LA", "PA", "RGBa", "La") or "transparency" in info,
        orientation=orientation if orientation in TURNS else 1,
        profile=any(info.get(key) is not None for key in PROFILES),
        behind=end is not None and end < len(content) and not (many and image.format == "MPO"),
        short=end is not None and end > len(content),
    )


def _bits(image: Image.Image, head: bytes) -> int:
    """Per channel as stored, where Pillow would cut them to 8 or stretch them to 8 without a word; of a palette, 8."""
    mode = image.mode
    if mode == "1":
        return 1
    if mode.startswith(("I", "F")):
        return 16
    if head.startswith(PNG_MAGIC) and len(head) > 24 and (mode == "L" or head[24] == 16):
        return head[24]
    if image.format == "TIFF":
        said = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
        bits = max(said) if isinstance(said, tuple) else said
        if bits > 8 or (mode == "L" and bits in (2, 4)):
            return int(bits)
    return 8
