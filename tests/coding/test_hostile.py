"""What archives that mislead cost: no more than they weigh, times a ratio that is stated; and what is saved of them."""

import json
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.coding.archives import LEVELS, allowed, header, independent_codec, pictures, read, write
from tests.coding.toys import FORMATS, Npy
from vlb.base import growth
from vlb.base.configuration import encode, override
from vlb.base.errors import UserError
from vlb.coding import allowance, before, values
from vlb.coding.allowance import Allowance
from vlb.coding.api import decompress, inspect
from vlb.coding.container import DATA, MODEL, VERBATIM, ArchiveReader, ArchiveWriter
from vlb.coding.contents import NOTHING, Continued, Piece, Plan, checked
from vlb.coding.diffusion import evenly
from vlb.coding.elements import Model, Numbers, Texts
from vlb.coding.general import pack
from vlb.coding.header import Header
from vlb.coding.layouts import LAYOUTS
from vlb.coding.options import DecompressOptions
from vlb.coding.reading import contents
from vlb.coding.records import Coded, Record
from vlb.coding.restoring import restore
from vlb.coding.sequence import MAX_LANES, Lanes
from vlb.coding.trial import tried
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.schema import Categories, levels_schema
from vlb.data import Column
from vlb.data.formats.base import File, Member
from vlb.data.formats.delimited import Delimited
from vlb.models.vae.config import VAE
from vlb.nn.coder import DenseCoder
from vlb.store.budget import LEAST
from vlb.store.carried import carried, from_carried
from vlb.store.runs import Run
from vlb.store.trained import Trained
from vlb.training.recipes import recipe

LONG = "x" * 4096
COLUMN = Column("n", Categories((LONG, *map(str, range(15)))))
NONE = np.zeros(0, int)


def peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def archive(path: Path, head: Header, *chunks: tuple[int, bytes]) -> Path:
    with path.open("wb") as stream:
        writer = ArchiveWriter(stream, head)
        for kind, body in chunks:
            writer.add(kind, body)
        writer.finish()
    return path


def table(path: Path, count: int) -> Path:
    """`count` rows of one cell of 4,096 bytes."""
    record = Record("t.csv", 0, b"", (Coded("", Texts(), LAYOUTS[0], count, NONE, NONE.astype(object)),))
    check = checked([zlib.crc32((LONG + "\n").encode() * count)]) if count < 1 << 16 else b"1234"
    body = Plan(NOTHING, (record,), 0, check).head() + b"\0" + pack(bytes(count))
    return archive(path, replace(header(), shape=(1,)), (DATA, body))


def rows(path: Path, salvage: bool, allowance: Allowance) -> list[str]:
    found = contents(ArchiveReader(path), independent_codec((1,)), (COLUMN,))
    return restore(found, path.parent / "out", (Delimited(),), salvage, allowance)


def test_a_long_cell_times_many_rows_is_refused_before_it_is_text(tmp_path: Path) -> None:
    path = table(tmp_path / "a.vlb", 1 << 20)
    assert path.stat().st_size < 2000  # 4 GiB of text

    def refused() -> None:
        with pytest.raises(UserError, match=r"chunk 0.*--trust"):
            rows(path, False, allowed(path))
        assert any("--trust" in problem for problem in rows(path, True, allowed(path)))

    assert peak(refused) < 1 << 26


def test_text_is_put_together_row_by_row(tmp_path: Path) -> None:
    count = 1 << 13
    path, size = table(tmp_path / "a.vlb", count), count * len(LONG + "\n")
    assert peak(lambda: rows(path, False, Allowance(0))) < 2.5 * size
    assert (tmp_path / "out" / "t.csv").read_text() == (LONG + "\n") * count


def test_so_is_the_text_of_archives_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "FREE", 1 << 24)
    rest = pack(Writer().number(0).number(0).content())
    writer = Writer().text("t.csv").number(1).number(1 << 20).number(0).number(0).number(1)
    body = writer.number(2).number(len(rest)).raw(rest).content()

    def take(reader: Reader, count: int, strips: tuple[object, ...]) -> np.ndarray:
        return np.zeros((count, 1), np.uint8)

    part = before.content(before.TABLE, Reader(body), Model((1,), 16, (COLUMN,)), take)
    found = before.files([(0, part)])

    def refused() -> None:
        with pytest.raises(UserError, match="--trust"):
            restore(iter(found), tmp_path / "out", FORMATS, False, Allowance(1000))

    assert peak(refused) < 1 << 26


@pytest.mark.parametrize("salvage", [False, True])
def test_examples_of_one_file_in_many_chunks_are_counted(
    salvage: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48 chunks of 10,000 pictures each, in a file of wide numbers of which none is ever whole."""
    monkeypatch.setattr(growth, "FREE", 1 << 22)
    many, each = 48, 10_000
    record = Record("x.npy", 0, b"", (Coded("", Numbers(np.dtype("<i8")), LAYOUTS[0], many * each + 1, NONE, NONE),))
    general = b"\0" + pack(bytes(each * 30))
    chunks = [Plan(NOTHING, (record,), (many - 1) * each + 1, bytes(4)).head() + general]
    chunks += [Plan(Continued(i, i * each, each), (), 0, bytes(4)).head() + general for i in range(1, many)]
    path = archive(tmp_path / "a.vlb", header(), *((DATA, chunk) for chunk in chunks))

    def refused() -> None:
        if salvage:
            assert any("--trust" in problem for problem in restore(read(path), tmp_path / "out", FORMATS, True, few))
        else:
            with pytest.raises(UserError, match="--trust"):
                restore(read(path), tmp_path / "out", FORMATS, False, few)

    few = Allowance(1)
    assert peak(refused) < 1 << 24


@pytest.mark.parametrize(("first", "why"), [(10, None), (5, "there already"), (15, "it has not")])
def test_rows_stand_once_and_where_the_file_has_them(first: int, why: str | None, tmp_path: Path) -> None:
    """The second ten of twenty; what is said to begin earlier, or to go on beyond, is damage."""
    record = Record("x.npy", 0, b"", (Coded("", Numbers(np.dtype("u1")), LAYOUTS[0], 20, NONE, NONE.astype("u1")),))
    general = b"\0" + pack(bytes(10 * 30))
    content = Npy().write(File((Member("", np.zeros((20, *header().shape), np.uint8)),), b""))
    chunks = [
        Plan(NOTHING, (record,), 10, checked([])).head() + general,
        Plan(Continued(1, first, 10), (), 0, checked([zlib.crc32(content)])).head() + general,
    ]
    path = archive(tmp_path / "a.vlb", header(), *((DATA, chunk) for chunk in chunks))
    if why is None:
        restore(read(path), tmp_path / "out", FORMATS, False, allowed(path))
        assert (tmp_path / "out" / "x.npy").read_bytes() == content
    else:
        with pytest.raises(UserError, match=why):
            restore(read(path), tmp_path / "out", FORMATS, False, allowed(path))


def test_pieces_stop_where_they_are_too_many_and_others_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "FREE", 1 << 20)
    zeros = bytes(1 << 18)
    bodies = [Piece("big", i == 9, zeros).body() for i in range(10)] + [Piece("small", True, b"here").body()]
    path = archive(tmp_path / "a.vlb", header(), *((VERBATIM, body) for body in bodies))
    with pytest.raises(UserError, match=r"chunk 4.*--trust"):
        restore(read(path), tmp_path / "out", FORMATS, False, Allowance(1))
    problems = restore(read(path), tmp_path / "out", FORMATS, True, Allowance(1))
    assert len(problems) == 6 and all("--trust" in problem for problem in problems)
    assert (tmp_path / "out" / "small").read_bytes() == b"here"
    assert restore(read(path), tmp_path / "all", FORMATS, False, Allowance(1, trusted=True)) == []
    assert (tmp_path / "all" / "big").read_bytes() == 10 * zeros


def test_an_archive_that_will_take_trust_is_said_to_when_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "FREE", 1 << 16)
    for size in (1 << 10, 1 << 20):
        (tmp_path / "zeros.bin").write_bytes(bytes(size))
        path = tmp_path / f"{size}.vlb"
        said = any("--trust" in note for note in write(path, tmp_path / "zeros.bin").notes)
        try:
            restore(read(path), tmp_path / f"out{size}", FORMATS, False, allowed(path))
        except UserError:
            assert said and size > 1 << 16
        else:
            assert not said


def picture(name: str) -> tuple[Record, np.ndarray, int]:
    """A record of one example, its levels, the checksum of its file."""
    x = pictures(1, 1)
    record = Record(name, 0, b"", (Coded("", Numbers(np.dtype("u1")), LAYOUTS[0], 1, NONE, NONE.astype("u1")),))
    return record, x, zlib.crc32(Npy().write(File((Member("", x),), b"")))


BAD = ("../x", "b" * 256, "good/below", "a/" * 2000 + "a", "/x", "c:\\x", "a\0b")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", [DATA, VERBATIM])
def test_one_bad_name_loses_only_its_file(kind: int, bad: str, tmp_path: Path) -> None:
    names = ("good", bad, "last")
    if kind == DATA:  # all three in one chunk
        records, x, checks = zip(*map(picture, names), strict=True)
        coded = values.encode(np.concatenate(x), independent_codec(), LEVELS, verify=False).content
        chunks = [Plan(NOTHING, records, 0, checked(list(checks))).head() + coded]
    else:
        chunks = [Piece(name, last, b"content").body() for name in names for last in (False, True)]
    path = archive(tmp_path / "a.vlb", header(), *((kind, chunk) for chunk in chunks))
    with pytest.raises(UserError, match="chunk") as caught:
        restore(read(path), tmp_path / "out", FORMATS, False, allowed(path))
    assert len(str(caught.value)) < 400 and sorted(tmp_path.iterdir()) == [path]
    problems = restore(read(path), tmp_path / "out", FORMATS, True, allowed(path))
    assert problems and all(len(problem) < 400 for problem in problems)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["good", "last"]
    if bad not in ("b" * 256, "good/below"):  # which another system may have
        assert inspect(path).problems


@pytest.fixture(scope="module")
def misleading(tiny_run: Run) -> Callable[..., bytes]:
    """The model of a run, changed: its JSON by a function."""

    def made(change: Callable[[dict], object]) -> bytes:
        line, _, weights = carried(tiny_run.trained).partition(b"\n")
        said = json.loads(line)
        change(said)
        return json.dumps(said).encode() + b"\n" + weights

    return made


def carrying(path: Path, head: Header, model: bytes) -> Path:
    return archive(path, head, (MODEL, Writer().number(len(model)).content() + pack(model)))


def test_a_carried_model_of_other_examples_is_refused_before_it_is_built(
    misleading: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def huge(said: dict) -> None:
        said["schema"]["layout"]["shape"] = [1, 3000, 3000]

    model = misleading(huge)
    digest = from_carried(model, tmp_path).identity[:8]
    small = replace(header(True), digest=digest, shape=(1, 8, 8), levels=17)
    path = carrying(tmp_path / "a.vlb", small, model)
    assert peak(lambda: refused(path, "does not fit")) < 1 << 25
    # A header that says the same, or wants as many examples at once as there may be, is held against what it weighs.
    monkeypatch.setattr(growth, "FREE", 1 << 20)
    for side, lanes in ((3000, Lanes(1)), (300, Lanes(MAX_LANES))):
        model = misleading(lambda said, side=side: said["schema"]["layout"].__setitem__("shape", [1, side, side]))
        digest = from_carried(model, tmp_path).identity[:8]
        head = replace(small, digest=digest, shape=(1, side, side), settings=replace(small.settings, lanes=lanes))
        path = carrying(tmp_path / f"{side}.vlb", head, model)
        assert peak(lambda: refused(path, "--trust")) < 1 << 25  # noqa: B023
    refused(path, "not of its model", trust=True)  # it is built then, within what its weights are


# A network, the side of its pictures, the steps and lanes that they are coded in, and what it does too much of.
DEMANDING = {
    "attention": ("backbone.attention=[true]", 100, 4096, 1, "multiplies"),
    "blocks": ("backbone.blocks=40", 100, 2, 1, "holds"),
    "lanes": ("backbone.blocks=1", 16, 2, 256, "holds"),
}


@pytest.mark.parametrize("which", DEMANDING)
def test_a_carried_network_that_asks_for_too_much_is_refused(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "FREE", 1 << 28 if which == "attention" else 1 << 22)
    monkeypatch.setattr(allowance, "WIDTH", 1)
    change, side, steps, lanes, why = DEMANDING[which]
    experiment = recipe("digits")
    for one in ("backbone=unet", "backbone.widths=[4]", "backbone.attention=[false]", change):
        experiment = override(experiment, f"model.{one}")
    schema = levels_schema((1, side, side), 4)
    state = experiment.model.build(schema).state_dict()
    zeros = {name: torch.zeros(tensor.shape) for name, tensor in state.items()}
    trained = Trained(encode(experiment)["model"], encode(schema), zeros, tmp_path)
    settings = evenly(0, steps, lanes=Lanes(lanes))
    head = replace(header(True), digest=trained.identity[:8], shape=schema.shape, levels=4, settings=settings)
    path = carrying(tmp_path / "a.vlb", head, carried(trained))
    refused(path, f"{why}.*--trust")


def test_a_carried_network_of_many_small_tensors_takes_no_more_than_its_file_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor of a few numbers takes a few bytes of a file and thousands once it is built."""
    monkeypatch.setattr(growth, "FREE", 1 << 21)
    monkeypatch.setattr(allowance, "RATIO", 100)
    monkeypatch.setattr(allowance, "WIDTH", 1)
    schema = levels_schema((1, 8, 8), 2)
    deep = {}
    for blocks in (10, 75):  # as many as there are weights for, and as it says
        experiment = recipe("digits")
        for one in ("backbone=unet", "backbone.widths=[1]", "backbone.attention=[false]", f"backbone.blocks={blocks}"):
            experiment = override(experiment, f"model.{one}")
        deep[blocks] = experiment
    zeros = {name: torch.zeros(found.shape) for name, found in deep[10].model.build(schema).state_dict().items()}
    head = replace(header(True), shape=schema.shape, levels=2, settings=evenly(0, 2, lanes=Lanes(1)))
    paths = {}
    for blocks, experiment in deep.items():
        trained = Trained(encode(experiment)["model"], encode(schema), zeros, tmp_path)
        settled = replace(head, digest=trained.identity[:8])
        paths[blocks] = carrying(tmp_path / f"{blocks}.vlb", settled, carried(trained))
    decompress(paths[10], tmp_path / "whole")
    refused(paths[75], "to build.*--trust")
    refused(paths[75], "does not fit|not of its model", trust=True)
    allowed_ = Allowance(paths[10].stat().st_size)
    room = (allowed_.limit - trained.weight) // LEAST
    with allowed_.building(trained):
        for _ in range(room):
            torch.empty(1)
        with pytest.raises(UserError, match="to build"):
            torch.empty(1)


def test_what_a_network_takes_is_counted() -> None:
    model = VAE(latents=2, coder=DenseCoder(width=5, blocks=0)).build(levels_schema((1, 2, 2), 3))
    found = tried(model)
    weights = [tensor for name, tensor in model.state_dict().items() if name.endswith("weight") and tensor.ndim == 2]
    assert found.multiply_adds == sum(tensor.numel() for tensor in weights)
    assert 0 < found.held < 1 << 12
    with pytest.raises(Damaged, match="multiplies"):
        tried(model, found.multiply_adds - 1)
    with pytest.raises(Damaged, match="holds"):
        tried(model, room=found.held - 1)
    tried(model, found.multiply_adds, found.held)


def refused(path: Path, why: str, trust: bool = False) -> None:
    with pytest.raises(UserError, match=why):
        decompress(path, path.parent / "out", DecompressOptions(trust=trust))


def test_to_look_at_a_header_that_claims_many_levels_takes_no_memory(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.vlb", replace(header(), levels=1 << 32), (VERBATIM, Piece("a", True, b"").body()))
    assert peak(lambda: inspect(path)) < 1 << 22
