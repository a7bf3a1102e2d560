"""Damage of any kind is an error that names its place, never other data, a crash or a large allocation."""

import math
import shutil
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.coding.archives import LEVELS, SHAPE, allowed, header, independent_codec, pictures, read, write
from tests.coding.toys import FORMATS, Several
from vlb.base.errors import UserError
from vlb.coding import reading, values, writing
from vlb.coding.container import DATA, MAGIC, MODEL, VERBATIM, ArchiveReader, ArchiveWriter, Chunk
from vlb.coding.contents import NOTHING, Content, Continued, Data, Piece, Plan
from vlb.coding.diffusion import DiffusionSettings, evenly
from vlb.coding.elements import Model, Numbers, Texts, _texts
from vlb.coding.general import pack, unpack
from vlb.coding.header import MAX_EXAMPLE, Header
from vlb.coding.hierarchies import HierarchySettings
from vlb.coding.layouts import LAYOUTS
from vlb.coding.mixtures import MixtureSettings
from vlb.coding.options import MAX_LANES, MAX_TRIES
from vlb.coding.records import Coded, Kept, Record
from vlb.coding.restoring import restore
from vlb.coding.sequence import Lanes
from vlb.coding.settings import Settings
from vlb.coding.wire import CRC, Damaged, Reader, Writer
from vlb.core.schema import Categories
from vlb.data import Column
from vlb.data.formats.base import File, Member

COLUMNS = (Column("n", Categories(tuple(map(str, range(LEVELS))))),) * 30
VALUES = values.encode(pictures(0, 1), independent_codec(), LEVELS, verify=True).content

ONCE = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive of three arrays, one cut into four chunks, the last two sharing a chunk, and a text."""
    folder = tmp_path_factory.mktemp("archive")
    np.save(folder / "x.npy", pictures(0, 40))
    file = File((Member("a", pictures(1, 3)), Member("b", np.linspace(0, 1, 7))), b"and more")
    (folder / "more.several").write_bytes(Several().write(file))
    (folder / "note.txt").write_text("a note")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "CHUNK_VALUES", 300)
        write(folder / "whole.vlb", folder / "x.npy", folder / "more.several", folder / "note.txt")
    return (folder / "whole.vlb").read_bytes()


def contents_of(path: Path) -> list[Content]:
    """Everything, or the first error."""
    found = []
    for _, content in read(path):
        if isinstance(content, UserError):
            raise content
        found.append(content)
    return found


def refused(folder: Path, content: bytes) -> str:
    path = folder / "damaged.vlb"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        contents_of(path)
    assert "damaged.vlb" in str(caught.value)
    return str(caught.value)


def test_what_is_whole_reads(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.vlb").write_bytes(whole)
    found = contents_of(tmp_path / "a.vlb")
    parts = [part.x for part in found if isinstance(part, Data)]
    assert len(parts) == 5 and np.array_equal(np.concatenate(parts)[:40], pictures(0, 40))


@ONCE
@given(position=st.floats(0, 1, exclude_max=True))
def test_truncation_is_refused(whole: bytes, tmp_path: Path, position: float) -> None:
    refused(tmp_path, whole[: int(position * len(whole))])


def test_every_flipped_byte_is_refused(whole: bytes, tmp_path: Path) -> None:
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        refused(tmp_path, bytes(damaged))


@ONCE
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, content)
    refused(tmp_path, b"\x8fvlb\x30" + content)


@ONCE
@given(start=st.integers(0, 2000), length=st.integers(1, 50), content=st.binary(max_size=50))
def test_replaced_stretches_are_refused(whole: bytes, tmp_path: Path, start: int, length: int, content: bytes) -> None:
    damaged = whole[: start % len(whole)] + content + whole[start % len(whole) + length :]
    if damaged != whole:
        refused(tmp_path, damaged)


def framed(chunks: list[tuple[int, bytes]], folder: Path) -> Path:
    """An archive with these chunks and the right checksums: what someone could make who wants to mislead."""
    path = folder / "made.vlb"
    with path.open("wb") as stream:
        archive = ArchiveWriter(stream, header())
        for kind, body in chunks:
            archive.add(kind, body)
        archive.finish()
    return path


def test_chunks_cannot_change_places(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.vlb").write_bytes(whole)
    archive = ArchiveReader(tmp_path / "a.vlb")
    chunks = [chunk for chunk in archive.chunks() if isinstance(chunk, Chunk)]
    sizes = [chunk.size for chunk in chunks]
    first = archive._start
    swapped = whole[:first] + whole[first + sizes[0] : first + sizes[0] + sizes[1]] + whole[first : first + sizes[0]]
    message = refused(tmp_path, swapped + whole[first + sizes[0] + sizes[1] :])
    assert "chunk 0" in message


def test_a_damaged_chunk_loses_only_itself(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.vlb").write_bytes(whole)
    archive = ArchiveReader(tmp_path / "a.vlb")
    sizes = [chunk.size for chunk in archive.chunks() if isinstance(chunk, Chunk)]
    for lost in range(len(sizes)):
        damaged = bytearray(whole)
        damaged[archive._start + sum(sizes[:lost]) + 1] ^= 0x40  # in the length, the worst place
        (tmp_path / "b.vlb").write_bytes(damaged)
        found = list(read(tmp_path / "b.vlb"))
        wrong = [index for index, content in found if isinstance(content, UserError)]
        assert wrong == [lost] and len(found) == len(sizes)
        assert f"chunk {lost}" in str(found[lost][1])


def test_without_an_end_marker_chunks_are_still_found(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.vlb").write_bytes(whole[:-5])
    found = [content for _, content in read(tmp_path / "a.vlb")]
    assert isinstance(found[-1], UserError) and "end marker" in str(found[-1])
    assert not any(isinstance(content, UserError) for content in found[:-1]) and len(found) == 7


def plan(
    record: Record | None = None,
    continued: Continued = NOTHING,
    left: int = 0,
    say: bytes | None = None,
    count: int = 1,
) -> bytes:
    """The head of a chunk; say: what is said of records instead of `record`, packed."""
    head = Plan(continued, (record,) if record is not None and say is None else (), left, b"1234").head()
    if say is None:
        return head
    said = Writer().number(count).number(len(say)).number(len(pack(say))).raw(pack(say))
    return head[:-1] + said.content()


def coded(
    dtype: str = "u1", count: int = 1, layout: int = 0, places: tuple[int, ...] = (), name: str = "x", number: int = 0
) -> Record:
    kind = Numbers(np.dtype(dtype))
    odd = np.zeros(len(places), kind.dtype)
    return Record(name, number, b"", (Coded("", kind, LAYOUTS[layout], count, np.array(places, int), odd),))


def with_kept(shape: tuple[int, ...], size: int, packed: bytes, dtype: str = "u1") -> Record:
    record = coded()
    return Record("x", 0, b"", (*record.members, Kept("", Numbers(np.dtype(dtype)), shape, size, packed)))


def bodies() -> Iterator[tuple[int, bytes]]:
    """Chunks that claim what is not so."""
    huge = (1 << 31) - 1
    bomb = pack(b"\0" * (1 << 20))
    yield VERBATIM, Writer().text("a").number(1).number(1 << 26).raw(bomb).content()
    yield VERBATIM, Writer().text("a").number(1).number(huge).raw(bomb).content()
    yield VERBATIM, Writer().text("a").number(1).number(10).raw(bomb).content()
    yield DATA, Writer().number(huge).content()
    yield DATA, plan()
    yield DATA, plan() + VALUES
    yield DATA, plan(continued=Continued(0, 3, 1)) + VALUES
    yield DATA, plan(continued=Continued(1, 0, 1 << 24)) + VALUES
    yield DATA, plan(coded(count=1 << 24)) + b"\0" + bomb
    yield DATA, plan(coded(count=1 << 19)) + b"\1\0\0\0\0\0\0\0\1"
    yield DATA, plan(coded(count=1 << 39)) + VALUES
    yield DATA, plan(coded(), left=1) + VALUES
    yield DATA, plan(coded(), left=5) + VALUES
    yield DATA, plan(left=5) + VALUES
    yield DATA, plan(coded(dtype="f4")) + VALUES
    yield DATA, plan(coded(dtype="S999999")) + VALUES
    yield DATA, plan(coded(count=2, layout=5)) + VALUES
    yield DATA, plan(coded(places=(30,))) + VALUES
    yield DATA, plan(coded(places=(3, 3))) + VALUES
    yield DATA, plan(coded()) + b"\0" + pack(bytes([200] * 30))
    yield DATA, plan(coded()) + b"\0" + pack(bytes([0] * 31))
    yield DATA, plan(coded(number=999)) + VALUES
    yield DATA, plan(coded(name="../x")) + VALUES
    yield DATA, plan(Record("x", 0, b"", ())) + VALUES
    yield (
        DATA,
        plan(Record("x", 0, b"", (Coded("", Texts(), LAYOUTS[0], 1, np.zeros(0, int), np.zeros(0, object)),))) + VALUES,
    )
    for shape in ((0, 1 << 39, 1 << 39), (1, 0, 1 << 39, 1 << 39)):
        yield DATA, plan(with_kept(shape, 0, pack(b""))) + VALUES
    yield DATA, plan(with_kept((1 << 26,), 1 << 26, bomb)) + VALUES
    yield DATA, plan(with_kept((1 << 26,), (1 << 26) + 1, bomb)) + VALUES
    yield DATA, plan(with_kept((5,), 4, pack(b"1234"))) + VALUES
    members = coded().members + with_kept((1 << 26,), 1 << 26, bomb).members[1:] * 5
    yield DATA, plan(Record("x", 0, b"", members)) + VALUES
    one = Writer().text("x").number(0).number(0).number(1)
    for kind in (b"", b"\0\0\3|O8", b"\0\0\3|S0", b"\0\0\3<c3", b"\0\0\4\xff\xff\xff\xff", b"\0\63"):
        yield DATA, plan(say=one.content() + b"\0\1" + kind + b"\1\0") + VALUES
    yield DATA, plan(say=b"", count=huge) + VALUES
    yield DATA, plan(say=b"\1x" * 40, count=40) + VALUES
    yield DATA, plan(say=b"\0" * (1 << 20), count=1 << 20) + VALUES
    yield (
        DATA,
        Writer().number(0).number(0).raw(b"1234").number(1).number(1 << 26).number(len(bomb)).raw(bomb).content(),
    )
    yield 99, b""
    for count in (1, 60_000):
        for junk in (b"\0\0", b"\0\0" + bytes(range(1, 200)), b"\1\20" + b"\1" * 40, b""):
            yield DATA, plan(coded(count=count)) + b"\1" + junk


@pytest.mark.parametrize("chunk", list(bodies()))
def test_false_claims_are_refused_without_taking_memory(chunk: tuple[int, bytes], tmp_path: Path) -> None:
    path = framed([chunk], tmp_path)
    tracemalloc.start()
    with pytest.raises(UserError, match="chunk 0"):
        restore(read(path), tmp_path / "out", FORMATS, False, allowed(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 29


@pytest.mark.parametrize("parts", [4096, 4097, 1 << 40])
def test_an_oversized_header_is_refused(parts: int, tmp_path: Path) -> None:
    start = Writer().raw(b"\x8fvlb\x30" + b"12345678").numbers(SHAPE).number(LEVELS).number(0)
    refused(tmp_path, start.number(parts).number(parts - 1).number(1).number(1).number(1).content() + b"\xff" * 20_000)


@pytest.mark.parametrize(("form", "version"), [(1, 1), (0x40, 4), (0xF7, 15)])
def test_another_version_is_named(whole: bytes, form: int, version: int, tmp_path: Path) -> None:
    message = refused(tmp_path, whole[:4] + bytes((form,)) + whole[5:])
    assert f"version {version}; this version of vlb reads 2 and 3" in message


@pytest.mark.parametrize(
    "tail",
    [
        b"", b"\0", b"\0" * 2000, b"\x80" * 20, b"\xff" * 20, b"\7\x80", b"\0\0\0\0\4",
        Writer().number(0).raw(zlib.crc32(b"\0").to_bytes(4, "little")).number(5).content(),
        b"\0" * 100_000 + zlib.crc32(b"\0" * 100_000).to_bytes(4, "little") + Writer().number(100_004).content()[::-1],
    ],
)  # fmt: skip
def test_tails_that_no_archive_has_are_refused(whole: bytes, tail: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.vlb").write_bytes(whole)
    start = ArchiveReader(tmp_path / "a.vlb")._start
    for content in (whole[:start] + tail, whole[:-6] + tail):
        message = refused(tmp_path, content)
        assert "end marker" in message or "chunk 0 is damaged" in message
        found = list(ArchiveReader(tmp_path / "damaged.vlb").chunks())
        assert len(found) < 12


def test_an_end_marker_of_any_length_takes_no_memory(whole: bytes, tmp_path: Path) -> None:
    with (tmp_path / "a.vlb").open("wb") as stream:
        stream.write(whole)
        stream.seek(1 << 30)
        stream.write(Writer().number((1 << 30) - 500).content()[::-1])
    tracemalloc.start()
    archive = ArchiveReader(tmp_path / "a.vlb")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert archive.end_error is not None and peak < 1 << 27


@pytest.mark.parametrize(
    "settings_",
    [
        evenly(0, 1, 1, Lanes(1)),
        DiffusionSettings(2, (0, 1, 7, 255), spacing=256, lanes=Lanes(MAX_LANES, MAX_TRIES)),
        DiffusionSettings(2, (0, 1, 7, 30), 31),
        DiffusionSettings(0, (1, 7), 7),
        DiffusionSettings(1, (3, 4096), 4096),
        evenly(1, 4096),
        HierarchySettings((0, 24, 3), Lanes(5)),
        MixtureSettings(Lanes(MAX_LANES)),
    ],
)
def test_headers_come_back(settings_: Settings) -> None:
    made = header()
    made = Header(made.digest, True, (3, 32, 32), 1 << 32, settings_, made.numerics)
    assert Header.read(Reader(made.content())) == made
    for cut in range(len(made.content())):
        with pytest.raises(Damaged):
            Header.read(Reader(made.content()[:cut]))


@ONCE
@given(st.binary(max_size=60))
def test_random_headers_are_headers_or_damage(tmp_path: Path, content: bytes) -> None:
    try:
        made = Header.read(Reader(content))
    except Damaged:
        return
    assert made.settings.lanes.width >= 1 and made.levels >= 2


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up", "a/../../up", "a//b", "./a", "", ".", "..", "a/", "c:\\x", "a\\..\\b", "c:/x", "a\0b"],
)
def test_names_that_would_escape_are_refused(name: str, tmp_path: Path) -> None:
    path = framed([(VERBATIM, Writer().text(name).number(1).number(1).raw(pack(b"x")).content())], tmp_path)
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(UserError, match="output folder"):
        restore(read(path), inner / "out", FORMATS, False, allowed(path))
    assert list(inner.iterdir()) == [] and {p.name for p in tmp_path.iterdir()} == {"inner", "made.vlb"}


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    chunk = VERBATIM, Writer().text("a").number(1).number(1).raw(pack(b"x")).content()
    path = framed([chunk, chunk], tmp_path)
    with pytest.raises(UserError, match=r"chunk 1.*twice"):
        restore(read(path), tmp_path / "out", FORMATS, False, allowed(path))
    assert not (tmp_path / "out").exists()


@ONCE
@given(st.binary(max_size=2000), st.integers(0, 3000))
def test_unpacking_anything_gives_the_size_or_damage(content: bytes, size: int) -> None:
    with suppress(Damaged):
        assert len(unpack(content, size)) == size


@ONCE
@given(st.binary(max_size=3000), st.lists(st.integers(1, 70), max_size=3))
def test_packing_undoes_itself_and_hardly_grows(content: bytes, strides: list[int]) -> None:
    packed = pack(content, tuple(strides))
    assert unpack(packed, len(content)) == content and len(packed) <= len(content) + 1


@ONCE
@given(st.lists(st.integers(0, 2**62)), st.text())
def test_numbers_and_names_come_back(numbers: list[int], name: str) -> None:
    try:
        content = Writer().numbers(tuple(numbers)).text(name).content()
    except UnicodeEncodeError:
        return
    reader = Reader(content)
    assert reader.numbers(len(numbers), 2**62) == tuple(numbers) and reader.text() == name
    reader.end()


@pytest.mark.slow
def test_fuzzed_archives(whole: bytes, tmp_path: Path) -> None:
    """20,000 archives with up to 8 mutations, half of them with checksums made right again."""
    rng = np.random.default_rng(0)
    (tmp_path / "a.vlb").write_bytes(whole)
    archive = ArchiveReader(tmp_path / "a.vlb")
    original = [(c.kind, c.body) for c in archive.chunks() if isinstance(c, Chunk)]
    expected = [c.body for c in archive.chunks() if isinstance(c, Chunk)]
    path = tmp_path / "fuzzed.vlb"
    for trial in range(20_000):
        if trial % 2:
            content = _mutated(whole, rng)
            path.write_bytes(content)
            honest = content == whole
        else:
            chosen = int(rng.integers(len(original)))
            kind, body = original[chosen]
            changed = [*original[:chosen], (kind, _mutated(body, rng)), *original[chosen + 1 :]]
            path = framed(changed, tmp_path)
            honest = changed[chosen][1] == expected[chosen]
        try:
            restore(read(path), tmp_path / "out", FORMATS, False, allowed(path))
        except UserError:
            assert not honest
        else:
            shutil.rmtree(tmp_path / "out")
            assert honest or not trial % 2  # with right checksums, other data may be what was meant


def _mutated(content: bytes, rng: np.random.Generator) -> bytes:
    mutated = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        kind, at = int(rng.integers(4)), int(rng.integers(len(mutated) or 1))
        if kind == 0 and mutated:
            mutated[at] ^= 1 << int(rng.integers(8))
        elif kind == 1 and mutated:
            mutated[at] = (0, 0x7F, 0x80, 0xFF)[int(rng.integers(4))]
        elif kind == 2:
            del mutated[at : at + int(rng.integers(1, 20))]
        else:
            mutated[at:at] = rng.bytes(int(rng.integers(1, 20)))
    return bytes(mutated)


def test_model_pieces_come_back(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", pictures(0, 2))
    model = np.random.default_rng(0).bytes(5000)
    summary = write(tmp_path / "m.vlb", tmp_path / "x.npy", model=model)
    archive = ArchiveReader(tmp_path / "m.vlb")
    assert reading.embedded_model(archive) == model
    assert summary.model_bytes > 5000 and summary.bytes_out == (tmp_path / "m.vlb").stat().st_size
    assert [c.kind for c in archive.chunks() if isinstance(c, Chunk)] == [MODEL, DATA]
    assert zlib.crc32(model) == zlib.crc32(reading.embedded_model(archive))


def test_the_first_bytes_alone_are_refused(whole: bytes, tmp_path: Path) -> None:
    """The name of the format and no more, one byte less and one more, too."""
    for cut in range(len(MAGIC) + 40):
        refused(tmp_path, whole[:cut])


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_numbers_come_back_up_to_their_limit(value: int, limit: int) -> None:
    """And what goes on for ever with bytes that say nothing is no number."""
    reader = Reader(Writer().number(value).content())
    if value > limit:
        with pytest.raises(Damaged, match="above"):
            reader.number(limit)
    else:
        assert reader.number(limit) == value
        reader.end()
    with pytest.raises(Damaged):
        Reader(b"\x80" * 100 + b"\0").number(limit)


def test_a_header_is_of_examples_that_there_can_be() -> None:
    """Two levels are the fewest, one number the smallest example."""
    least = replace(header(), shape=(1,), levels=2)
    assert least.levels == 2
    for change in ({"levels": 1}, {"levels": 0}, {"shape": ()}, {"shape": (3, 0)}, {"shape": (MAX_EXAMPLE, 2)}):
        with pytest.raises(Damaged, match="no such examples"):
            replace(least, **change)
    assert math.prod(replace(least, shape=(MAX_EXAMPLE,)).shape) == MAX_EXAMPLE


def test_what_no_piece_or_plan_says_is_damage_at_once() -> None:
    for last in (0, 1):
        body = Writer().text("a").number(last).number(3).raw(pack(b"abc")).content()
        assert Piece.read(Reader(body)) == Piece("a", bool(last), b"abc")
    with pytest.raises(Damaged):
        Piece.read(Reader(Writer().text("a").number(2).number(3).raw(pack(b"abc")).content()))
    model = Model((2,), 3)
    for lost in (Continued(0, 3, 1), Continued(0, 0, 0)):
        with pytest.raises(Damaged, match="than a chunk may hold"):
            Plan.read(Reader(Plan(lost, (), 0, bytes(CRC)).head()), model)


def test_texts_are_of_tables_alone_and_a_column_of_one_value_has_its_own() -> None:
    x = np.zeros((4, 2), np.uint8)
    columns = (Column("a", Categories(("1",))), Column("b", Categories(("u", "v"))))
    assert list(_texts(x, Model((2,), 2, columns))) == [["1"], ["u", "v"]]
    for wrong, model in ((x, Model((2,), 2)), (x[:, None], Model((2,), 2, columns)), (x + 1, Model((2,), 2, columns))):
        with pytest.raises(Damaged):
            list(_texts(wrong, model))
