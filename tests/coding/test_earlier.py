"""Archives of version 2: what they hold becomes the same files, and what no such archive holds is damage."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.coding.archives import LEVELS, SHAPE, independent_codec, pictures
from vlb.base.errors import UserError
from vlb.coding import before, values
from vlb.coding.contents import Piece
from vlb.coding.elements import Model
from vlb.coding.general import pack
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.schema import Categories
from vlb.data import Column

COLUMNS = (Column("n", Categories(("1", "2", "3"))), Column("member", Categories(("no", '"y,es"'))))
MODEL, TABLES = Model(SHAPE, LEVELS), Model((2,), 3, COLUMNS)
NPY, NPZ, IDX, IDX_GZ = range(4)


def take(reader: Reader, count: int, strips: tuple[object, ...] = ()) -> np.ndarray:
    return values.decode(reader, count, independent_codec(), LEVELS)


def coded(x: np.ndarray) -> bytes:
    return values.encode(x, independent_codec(), LEVELS, verify=True).content


def rows(name: str, member: str, container: int, x: np.ndarray, start: int, stop: int, layout: int = 1) -> bytes:
    """A chunk of rows start … stop of x (n, *SHAPE) uint8."""
    form, count = layout * 16 + container * 4 + 2 * (member != ""), stop - start
    writer = Writer().text(name).number(form)
    if member:
        writer.text(member)
    writer.number(1)
    if layout:
        writer.number(len(x)).number(start).number(count)
        return writer.content() + coded(x[start:stop])
    writer.numbers(x.shape).number(start).number(count)
    return writer.content() + pack(x[start:stop].tobytes())


def table(text_head: str, cells: np.ndarray, unknown: dict[int, str]) -> bytes:
    writer = Writer().text("t.csv").number(1).number(len(cells)).number(0).number(1).number(1)
    rest = Writer().numbers(tuple(np.diff(list(unknown), prepend=0).tolist()))
    for cell in (text_head, *unknown.values()):
        rest.number(len(cell.encode())).raw(cell.encode())
    packed = pack(rest.content())
    writer.number(len(rest.content())).number(len(packed)).raw(packed)
    return writer.content() + b"\0" + pack(cells.astype(np.uint8).tobytes())


def restored(*chunks: tuple[int, bytes]) -> dict[str, bytes]:
    found = ((i, before.content(kind, Reader(body), MODEL, take)) for i, (kind, body) in enumerate(chunks))
    files: dict[str, bytes] = {}
    for _, piece in before.files(found):
        assert isinstance(piece, Piece), piece
        files[piece.name] = files.get(piece.name, b"") + piece.content
    return files


def test_arrays_in_every_container() -> None:
    x, y = pictures(0, 9), pictures(1, 4) + np.uint8(LEVELS)
    found = restored(
        (before.ARRAY, rows("a.npy", "", NPY, x, 0, 5)),
        (before.ARRAY, rows("a.npy", "", NPY, x, 5, 9, layout=0)),
        (before.ARRAY, rows("b.npz", "x", NPZ, x, 0, 9)),
        (before.ARRAY, rows("b.npz", "y", NPZ, y, 0, 4, layout=0)),
        (before.ARRAY, rows("c.idx", "", IDX, x, 0, 9)),
        (before.ARRAY, rows("d.idx.gz", "", IDX_GZ, x, 0, 9)),
        (before.VERBATIM, Writer().text("e").number(1).number(2).raw(pack(b"ab")).content()),
    )
    stream = io.BytesIO()
    np.save(stream, x)
    assert found["a.npy"] == stream.getvalue() and found["e"] == b"ab"
    with np.load(io.BytesIO(found["b.npz"])) as read:
        assert read.files == ["x", "y"] and np.array_equal(read["x"], x) and np.array_equal(read["y"], y)
    assert zipfile.ZipFile(io.BytesIO(found["b.npz"])).testzip() is None
    raw = struct.pack(">4B4I", 0, 0, 8, 4, *x.shape) + x.tobytes()
    assert found["c.idx"] == raw and gzip.decompress(found["d.idx.gz"]) == raw


@pytest.mark.parametrize("layout", [1, 2, 3, 4])
def test_rows_lie_as_their_layout_has_them(layout: int) -> None:
    shape = (1, 2, 5) if layout == 3 else (3, 2, 5)
    x = np.random.default_rng(0).integers(LEVELS, size=(4, *shape)).astype(np.uint8)
    codec = independent_codec(shape)
    writer = Writer().text("a.npy").number(16 * layout).number(1).number(len(x)).number(0).number(len(x))
    body = writer.content() + values.encode(x, codec, LEVELS, verify=True).content

    def take(reader: Reader, count: int, strips: tuple[object, ...] = ()) -> np.ndarray:
        return values.decode(reader, count, codec, LEVELS)

    part = before.content(before.ARRAY, Reader(body), Model(shape, LEVELS), take)
    pieces = [piece for _, piece in before.files([(0, part)])]
    found = np.load(io.BytesIO(b"".join(piece.content for piece in pieces if isinstance(piece, Piece))))
    assert np.array_equal(found, (x, x.reshape(4, -1), x[:, 0], x.transpose(0, 2, 3, 1))[layout - 1])


def test_pictures_and_tables() -> None:
    x = pictures(0, 2)
    names = Writer().text("a.png").number(0).text("b.bmp").number(3).content()
    packed = pack(names)
    body = Writer().number(2).number(len(names)).number(len(packed)).raw(packed).content() + coded(x)
    found = restored((before.PICTURES, body))
    for name, pixels in zip(("a.png", "b.bmp"), x, strict=True):
        with Image.open(io.BytesIO(found[name])) as image:
            assert np.array_equal(np.asarray(image), pixels[0])
    cells = np.array([[0, 1], [2, 0], [0, 0]])

    def plain(reader: Reader, count: int, strips: tuple[object, ...]) -> np.ndarray:
        reader.rest()
        return cells

    part = before.content(before.TABLE, Reader(table("n,member\r\n", cells, {4: "née"})), TABLES, plain)
    ((_, piece),) = before.files([(0, part)])
    assert isinstance(piece, Piece)
    assert piece.content.decode() == 'n,member\r\n1,"y,es"\r\n3,no\r\nnée,no\r\n'


@pytest.mark.parametrize("most", [255, 256])
def test_pictures_of_8_bits_are_all_that_there_were(most: int) -> None:
    names = Writer().text("a.png").number(0).content()
    packed = pack(names)
    body = Writer().number(1).number(len(names)).number(len(packed)).raw(packed).content()

    def made(reader: Reader, count: int, strips: tuple[object, ...]) -> np.ndarray:
        return np.full((count, *SHAPE), most, np.uint16)

    if most > 255:
        with pytest.raises(Damaged, match="8 bits"):
            before.content(before.PICTURES, Reader(body), MODEL, made)
        return
    ((_, piece),) = before.files([(0, before.content(before.PICTURES, Reader(body), MODEL, made))])
    assert isinstance(piece, Piece)
    with Image.open(io.BytesIO(piece.content)) as image:
        assert (np.asarray(image) == 255).all()


def test_one_lost_row_is_said() -> None:
    x = pictures(0, 9)
    held = ((0, 5), (6, 9))
    parts = [before.content(before.ARRAY, Reader(rows("a.npy", "", NPY, x, *of)), MODEL, take) for of in held]
    found = [part for _, part in before.files(enumerate(parts))]
    (said,) = (part for part in found if isinstance(part, UserError))
    assert "rows 5 to 5" in str(said)
    again = np.load(io.BytesIO(b"".join(part.content for part in found if isinstance(part, Piece))))
    assert np.array_equal(np.delete(again, 5, 0), np.delete(x, 5, 0)) and not again[5].any()


def test_lost_rows_are_zeros_and_said() -> None:
    x = pictures(0, 9)
    parts = [before.content(before.ARRAY, Reader(rows("a.npy", "", NPY, x, i, i + 3)), MODEL, take) for i in (0, 6)]
    found = [part for _, part in before.files(enumerate(parts))]
    (said,) = (part for part in found if isinstance(part, UserError))
    pieces = [part for part in found if isinstance(part, Piece)]
    assert "rows 3 to 5" in str(said) and [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    again = np.load(io.BytesIO(b"".join(piece.content for piece in pieces)))
    assert np.array_equal(again[:3], x[:3]) and not again[3:6].any() and np.array_equal(again[6:], x[6:])


@pytest.mark.parametrize("kind", [before.VERBATIM, before.PICTURES, before.ARRAY, before.TABLE])
@given(cut=st.integers(0, 200), at=st.integers(0, 60), put=st.binary(max_size=4), which=st.integers(0, 3))
@settings(derandomize=True, deadline=None, max_examples=150)
def test_anything_else_is_damage(kind: int, cut: int, at: int, put: bytes, which: int) -> None:
    x = pictures(0, 4)
    names = Writer().text("a.png").number(0).content()
    packed = pack(names)
    bodies = (
        Writer().text("e").number(1).number(2).raw(pack(b"ab")).content(),
        Writer().number(1).number(len(names)).number(len(packed)).raw(packed).content() + coded(x[:1]),
        rows("a.npy", "", NPY, x, 0, 4, layout=which % 2),
        table("", np.zeros((2, 2)), {1: "x"}),
    )
    body = (bodies[which][:at] + put + bodies[which][at + len(put) :])[: len(bodies[which]) - cut % 20]
    try:
        part = before.content(kind, Reader(body), MODEL if kind != before.TABLE else TABLES, take)
    except Damaged:
        return
    assert all(isinstance(piece, Piece | UserError) for _, piece in before.files([(0, part)]))


def test_coloured_pictures() -> None:
    x = np.random.default_rng(0).integers(256, size=(1, 3, 4, 5)).astype(np.uint8)
    names = Writer().text("a.png").number(before.MODES.index("RGB")).content()
    packed = pack(names)
    body = Writer().number(1).number(len(names)).number(len(packed)).raw(packed).content()
    part = before.content(before.PICTURES, Reader(body), Model((3, 4, 5), 256), lambda reader, count, strips=(): x)
    for pieces in (before.files([(0, part)]), before.previews([(0, part)])):
        ((_, piece),) = pieces
        assert isinstance(piece, Piece) and piece.last
        with Image.open(io.BytesIO(piece.content)) as image:
            assert image.mode == "RGB" and np.array_equal(np.asarray(image), x[0].transpose(1, 2, 0))
