"""Photographs of any size by the verbs: trained on crops, evaluated and scored whole, sampled as tiles."""

import csv
import json
import math
import shutil
import signal
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vlb
from tests.told import Bars
from vlb.base.errors import UserError
from vlb.coding.container import ArchiveReader, ArchiveWriter
from vlb.coding.sequence import Sequence
from vlb.core.condition import Condition, Role
from vlb.core.schema import Pieces
from vlb.core.terms import EXACT, TermPath
from vlb.data.baselines import per_example
from vlb.data.formats import rests
from vlb.data.formats.base import File, Member
from vlb.data.formats.png import Png, Style
from vlb.data.photographs import Crops, load_photographs, tiles
from vlb.data.pieces import alone
from vlb.interfaces.cli import main
from vlb.measure.evaluation import measure_bound
from vlb.measure.wholes import Wholes
from vlb.pages.comparison import comparison_page
from vlb.store import checkpoint
from vlb.store.runs import Run
from vlb.training.recipes import recipe

SMALL = (
    "model.backbone.widths=[8,8]", "model.backbone.attention=[false,false]", "training.steps=6", "training.batch=4",
    "training.validate_every=6", "training.validation_examples=10", "training.checkpoint_every=3",
)  # fmt: skip
WAYS = {"margin": (8, 2, ("model.roles=true",)), "plain": (6, 0, ("model.head=posterior",))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Greyscale pictures of 16 levels and of several sizes, smooth ones."""
    path = tmp_path_factory.mktemp("data") / "photos"
    path.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        height, width = rng.integers(8, 22, 2)
        waves = np.sin(np.arange(height)[:, None] / 3 + number) * np.cos(np.arange(width) / 4)
        pixels = (8 + 6 * waves).astype(np.uint8).tobytes()
        (path / f"{number}.pgm").write_bytes(b"P5 %d %d 15\n" % (width, height) + pixels)
    return path


def options(way: str, *more: str) -> vlb.TrainOptions:
    crop, margin, overrides = WAYS[way]
    return vlb.TrainOptions(crop=crop, margin=margin, overrides=(*SMALL, *overrides, *more))


@pytest.fixture(scope="module")
def runs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("runs")
    for way in WAYS:
        assert vlb.train("images", options(way), out=out / way, data=folder).finished
    return {way: out / way for way in WAYS}


def test_the_schema_says_how_things_are_cut(runs: dict[str, Path]) -> None:
    for way, (crop, margin, _) in WAYS.items():
        schema = Run.open(runs[way]).schema
        assert schema.shape == (1, crop + 2 * margin, crop + 2 * margin) and schema.levels == 16
        assert (schema.pieces.tile, schema.pieces.margin) == ((crop, crop), margin)
        assert (schema.pieces.phases, schema.pieces.told) == ((4, True) if margin else (1, False))


class Stopping(Bars):
    """A person who interrupts after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def at(self, done: int, *, total: int | None = None, detail: str = "") -> None:
        super().at(done, total=total, detail=detail)
        if self.bars[-1].what == "training" and done == self.steps - 1:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_run_sees_the_same_crops(way: str, folder: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    stopped = vlb.train("images", options(way), out=tmp_path / "r", data=folder, progress=Stopping(3))
    assert not stopped.finished and checkpoint.read(stopped.run.last).state["step"] == 3
    assert vlb.train("images", out=tmp_path / "r", resume=True).finished
    one, other = (checkpoint.read(Run.open(path).last).tensors for path in (runs[way], tmp_path / "r"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("way", WAYS)
def test_evaluation_is_of_whole_pictures(way: str, folder: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    kept = tmp_path / "v.npz"
    result = vlb.evaluate(runs[way], "validation", vlb.EvaluateOptions(passes=2), values=kept)
    data = Run.open(runs[way]).data()
    split = data.validation
    pixels = sum(split.thing(int(number)).size for number in np.unique(split.whole))
    assert result.things == 1 and result.examples == len(split)
    assert result.bits_per_dim == pytest.approx(result.evaluation.totals.sum() / pixels / math.log(2))
    assert set(result.baselines) == {"uniform", "independent_pixels"} and result.baselines["uniform"] == 4
    assert math.isnan(result.se_data) and f"1 in {len(split):,} tiles, {pixels:,} dimensions" in result.table().title


@pytest.mark.parametrize("way", WAYS)
def test_scores_are_sums_over_tiles(
    way: str, folder: Path, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlb.measure.score.TRAINING_EXAMPLES", 12)
    some = tmp_path / "some"
    some.mkdir()
    for name in ("2.pgm", "5.pgm"):
        shutil.copy(folder / name, some / name)
    chosen = ["--passes", "2", "--draws", "2", "--typicality", "--background", "independent-pixels"]
    written = ["-o", str(tmp_path / "s.csv"), "--maps", str(tmp_path / "m")]
    with pytest.raises(SystemExit) as ended:
        main(["score", str(runs[way]), str(some), *chosen, *written])
    assert ended.value.code == 0
    with (tmp_path / "s.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["name"] for row in rows] == ["2.pgm", "5.pgm"]
    for row in rows:
        header = (folder / row["name"]).read_bytes().split()
        assert float(row["dimensions"]) == int(header[1]) * int(header[2])
        assert float(row["bits_per_dim"]) == pytest.approx(float(row["nats"]) / float(row["dimensions"]) / math.log(2))
        assert float(row["likelihood_ratio"]) == pytest.approx(float(row["nats"]) - float(row["background_nats"]))
        with Image.open(tmp_path / "m" / f"{row['name']}.png") as drawn:
            assert drawn.size == (2 * int(header[1]) + 8, int(header[2]))
    alone_scored = vlb.score(runs[way], some / "2.pgm", vlb.ScoreOptions(passes=2, draws=2))
    assert alone_scored.names == ("2.pgm",) and alone_scored.tiled.nats.sum() == alone_scored.columns["nats"][0]


@pytest.mark.parametrize("way", WAYS)
def test_samples_are_tiles(way: str, runs: dict[str, Path]) -> None:
    for chosen in (vlb.SampleOptions(n=3, steps=2), vlb.SampleOptions(n=3, steps=2, sampler="ddim")):
        found = vlb.sample(runs[way], chosen)
        assert found.x.shape == (3, 1, WAYS[way][0], WAYS[way][0]) and found.x.max() < 16


def test_absent_elements_are_not_looked_at(folder: Path, runs: dict[str, Path]) -> None:
    model, split = vlb.load(runs["margin"]), Run.open(runs["margin"]).data().validation
    x, condition = split.batch(np.arange(len(split)), False, "cpu")
    assert (condition.role == Role.KNOWN).any() and (condition.role == Role.ABSENT).any()
    other = torch.where(condition.role == Role.ABSENT, 15 - x, x)
    found = [sum(model.terms(v, condition, torch.Generator().manual_seed(0)).values()) for v in (x, other)]
    assert not torch.equal(x, other) and torch.equal(*found)
    role = alone(Run.open(runs["margin"]).schema).role
    assert (role == Role.MODELLED).sum() == 64 and not (role == Role.KNOWN).any()


@pytest.mark.slow
def test_given_pictures_need_no_training_data(folder: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    shutil.copy(folder / "3.pgm", kept / "3.pgm")
    for way in WAYS:
        content = json.loads((runs[way] / "config.json").read_text())
        content["experiment"]["data"]["path"] = str(tmp_path / "gone")
        shutil.copytree(runs[way], tmp_path / way)
        (tmp_path / way / "config.json").write_text(json.dumps(content))
        found = vlb.evaluate(tmp_path / way, kept, vlb.EvaluateOptions(passes=2))
        expected = vlb.evaluate(runs[way], kept, vlb.EvaluateOptions(passes=2))
        assert found.bits_per_dim == pytest.approx(expected.bits_per_dim, abs=6 * expected.se_monte_carlo + 0.2)


@pytest.mark.slow
def test_the_report_is_of_tiles(runs: dict[str, Path]) -> None:
    page = vlb.report(runs["margin"]).path.read_text()
    assert "pictures of any size, in" in page and "--set data.crop=8" in page


def test_what_is_of_whole_examples_says_so(runs: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"are tiles of pictures \(--crop\)"):
        vlb.tightness(runs["margin"])


@pytest.mark.parametrize("way", WAYS)
def test_a_comparison_is_of_whole_pictures(way: str, runs: dict[str, Path], tmp_path: Path) -> None:
    """Baselines have no draws, so that their differences per picture are known; the rest is of the same pictures."""
    data = Run.open(runs[way]).data()
    split, kept = data.train, tmp_path / "v.npz"
    result = vlb.compare([str(runs[way]), "independent-pixels", "uniform"], split="train")
    nats = per_example("independent-pixels", data, split)
    expected = [nats[split.whole == number].sum() for number in np.unique(split.whole)]
    own = result.comparisons[0].first.evaluation
    totals = [own.totals[split.whole == number].sum() for number in np.unique(split.whole)]
    total = result.comparisons[0].total
    assert len(total.values) == len(np.unique(split.whole)) < len(split)
    assert np.allclose(total.values, np.array(expected) - totals)
    pixels = int(split.counted.sum())
    found = result.values()["comparisons"][0]
    assert found["bits_per_dim"] == pytest.approx((sum(expected) - sum(totals)) / pixels / math.log(2))
    assert set(found["first_better_most"]) | set(found["second_better_most"]) <= set(split.whole.tolist())
    assert f"{len(expected)} in {len(split):,} tiles, {pixels:,} dimensions" in result.table().title
    assert "nats/picture" in result.table().columns
    assert "pictures (of any size" in comparison_page(result)
    vlb.evaluate(runs[way], "train", vlb.EvaluateOptions(passes=2), values=kept)
    again = vlb.compare([str(kept), str(runs[way]), "uniform"])
    assert len(again.comparisons[0].total.values) == len(expected)
    few = vlb.compare([str(runs[way]), "uniform"], vlb.CompareOptions(examples=3), split="train")
    assert len(few.comparisons[0].total.values) == 3


def test_pictures_that_are_cut_otherwise_are_not_compared(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="they cut pictures otherwise"):
        vlb.compare(list(runs.values()))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of the runs' kind of several sizes, smaller than a tile, too, whose pixels say nothing of each other;
    and other files."""
    path = tmp_path_factory.mktemp("mixed") / "some"
    path.mkdir()
    rng = np.random.default_rng(3)
    for number, (height, width) in enumerate(((41, 23), (1, 13), (17, 1), (3, 3), (30, 52), (8, 8))):
        waves = np.sin(np.arange(height)[:, None] / 3 + number) * np.cos(np.arange(width) / 4)
        pixels = rng.permutation((8 + 6 * waves).astype(np.uint8).reshape(-1)).tobytes()
        (path / f"{number}.pgm").write_bytes(b"P5\n# made by hand\n%d %d 15\n" % (width, height) + pixels)
    np.save(path / "array.npy", rng.integers(4, 12, (9, 14)))
    (path / "colours.ppm").write_bytes(b"P6 5 4 15\n" + rng.integers(0, 16, 60, np.uint8).tobytes())
    (path / "bright.pgm").write_bytes(b"P5 5 4 255\n" + bytes(range(200, 220)))
    text = b"tEXtComment\0made by hand"
    kept = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    rest = rests.pack(Style(bits=4, before=len(kept)), kept + b"behind its end")
    (path / "kept.png").write_bytes(Png().write(File((Member("", rng.integers(4, 12, (7, 5), np.uint8)),), rest)))
    (path / "text.txt").write_text("no picture")
    return path


def compressed(run: Path, given: Path, out: Path) -> vlb.Compressed:
    return vlb.compress(run, [given], out, vlb.CompressOptions(effort="fast"))


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files."""
    return {file.name: file.read_bytes() for file in one.iterdir()} == {
        file.name: file.read_bytes() for file in other.iterdir()
    }


@pytest.mark.parametrize("way", WAYS)
def test_pictures_of_any_size_compress(
    way: str, runs: dict[str, Path], mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, pictures that begin in one chunk and end in another, too."""
    monkeypatch.setattr("vlb.coding.writing.CHUNK_VALUES", 30 * 64)
    monkeypatch.setattr(Sequence, "forms", property(lambda self: (self.encode,)))  # with latents
    result = compressed(runs[way], mixed, tmp_path / "x.vlb")
    pixels = sum((41 * 23, 13, 17, 9, 30 * 52, 64, 9 * 14, 7 * 5))
    assert result.summary.values == pixels
    assert sum(account.coded for account in result.summary.accounts) > pixels / 3
    said = "\n".join(result.summary.notes)
    assert "colours.ppm: uint8 of shape (4, 5, 3), where the model is of pictures of 1 channel" in said
    assert "bright.pgm: values that are none of the 16 levels" in said and "text.txt" in said
    vlb.decompress(tmp_path / "x.vlb", tmp_path / "back", run=runs[way])
    assert same(mixed, tmp_path / "back" / "some")
    found = vlb.inspect(tmp_path / "x.vlb", vlb.InspectOptions(account=True), run=runs[way])
    assert found.count == pixels and found.audit is not None and found.audit.values == pixels
    assert len(found.chunks) > 3 and math.isfinite(found.audit.bound)


def test_damage_to_tiles_costs_the_files_that_it_hits(
    runs: dict[str, Path], mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlb.coding.writing.CHUNK_VALUES", 10 * 64)
    compressed(runs["margin"], mixed, tmp_path / "x.vlb")
    content = bytearray((tmp_path / "x.vlb").read_bytes())
    chunks = vlb.inspect(tmp_path / "x.vlb").chunks
    content[-60 - sum(chunk.size for chunk in chunks[2:])] ^= 1
    (tmp_path / "y.vlb").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        vlb.decompress(tmp_path / "y.vlb", tmp_path / "none", run=runs["margin"])
    result = vlb.decompress(
        tmp_path / "y.vlb", tmp_path / "some", vlb.DecompressOptions(salvage=True), run=runs["margin"]
    )
    back = (tmp_path / "some" / "some").iterdir()
    whole = [file.name for file in back if file.read_bytes() == (mixed / file.name).read_bytes()]
    assert result.problems and 7 <= len(whole) < 10


def test_an_archive_of_tiles_needs_the_model_that_is_cut_alike(
    runs: dict[str, Path], mixed: Path, tmp_path: Path
) -> None:
    compressed(runs["margin"], mixed / "3.pgm", tmp_path / "x.vlb")
    with pytest.raises(UserError, match="was made with the model"):
        vlb.decompress(tmp_path / "x.vlb", tmp_path / "back", run=runs["plain"])
    with (tmp_path / "z.vlb").open("wb") as stream:
        found = ArchiveReader(tmp_path / "x.vlb")
        other = ArchiveWriter(stream, replace(found.header, pieces=replace(found.header.pieces, phases=2)))
        for chunk in found.chunks():
            other.add(chunk.kind, chunk.body)
        other.finish()
    with pytest.raises(UserError, match="the file was made to mislead"):
        vlb.decompress(tmp_path / "z.vlb", tmp_path / "back", run=runs["margin"])
    for mask in (None, mixed / "0.pgm"):
        with pytest.raises(UserError, match=r"filling pictures is of whole examples, .* without --crop"):
            vlb.impute(runs["margin"], mixed, mask=mask)
    with pytest.raises(UserError, match="--stop-after is for whole examples"):
        vlb.decompress(tmp_path / "x.vlb", tmp_path / "back", vlb.DecompressOptions(stop_after=1), run=runs["margin"])
    carried = vlb.compress(
        runs["plain"], [mixed / "0.pgm"], tmp_path / "y.vlb", vlb.CompressOptions(effort="fast", embed_model=True)
    )
    vlb.decompress(carried.file, tmp_path / "back")
    assert (tmp_path / "back" / "0.pgm").read_bytes() == (mixed / "0.pgm").read_bytes()


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(1, np.uint16), pytest.param(4, np.uint8, marks=SLOW), pytest.param(3, np.uint16, marks=SLOW)],
)
def test_alpha_and_16_bits(channels: int, dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PNG files of four channels and of 65,536 levels, from training to the byte."""
    rng, photos, most = np.random.default_rng(0), tmp_path / "photos", np.iinfo(dtype).max
    photos.mkdir()
    for number in range(5):
        height, width = rng.integers(5, 22, 2)
        waves = np.sin(np.arange(height)[:, None] / 3 + number) * np.cos(np.arange(width) / 4)
        noise = 0.02 * rng.normal(size=(*waves.shape, channels))
        values = ((0.5 + 0.4 * waves[..., None] + noise) * most).clip(0, most).astype(dtype)
        member = Member("", values[..., 0] if channels == 1 else values)
        (photos / f"{number}.png").write_bytes(Png().write(File((member,), rests.pack(Style(), b""))))
    monkeypatch.setattr(Sequence, "forms", property(lambda self: (self.encode,)))
    small = ("model.backbone=mlp", "model.backbone.width=16", "model.backbone.blocks=1", "model.roles=true")
    head = ("model.head=preconditioned",) if dtype is np.uint16 else ()
    overrides = (*small, *head, *(setting for setting in SMALL if not setting.startswith("model")))
    chosen = vlb.TrainOptions(crop=8, margin=2, overrides=overrides)
    run = vlb.train("images", chosen, out=tmp_path / "r", data=photos).run
    assert run.schema.shape == (channels, 12, 12) and run.schema.levels == most + 1
    result = vlb.evaluate(run, "test", vlb.EvaluateOptions(passes=2))
    assert math.isfinite(result.bits_per_dim)
    found = compressed(run.path, photos, tmp_path / "x.vlb")
    assert sum(account.coded for account in found.summary.accounts) > 0 or dtype is np.uint8
    vlb.decompress(tmp_path / "x.vlb", tmp_path / "back", run=run.path)
    assert same(photos, tmp_path / "back" / "photos")
    assert vlb.sample(run, vlb.SampleOptions(n=2, steps=2)).x.shape == (2, channels, 8, 8)
    maps = vlb.score(run, photos / "0.png", vlb.ScoreOptions(passes=2)).tiled
    assert maps is not None and len(list(maps.maps(("a",)))) == 1


def test_wrong_options_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--margin belongs to --crop"):
        vlb.TrainOptions(margin=2)
    with pytest.raises(UserError, match="--crop is of a folder of pictures, by the recipe images"):
        vlb.train("digits", vlb.TrainOptions(crop=8), out=tmp_path / "a")
    with pytest.raises(UserError, match="--margin is for models that are told roles"):
        vlb.train("images", vlb.TrainOptions(crop=8, margin=2), out=tmp_path / "a", data=folder)
    with pytest.raises(UserError, match="smaller than the crop of 12×12"):
        vlb.train("images", vlb.TrainOptions(crop=12), out=tmp_path / "a", data=folder)
    assert not (tmp_path / "a").exists()
    assert recipe("images").pieces is None


class Independent:
    """Pixels by themselves, exactly, of those that are modelled."""

    bound = EXACT

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        self.shape, self.log_p = shape, torch.randn(levels, generator=torch.Generator().manual_seed(1)).log_softmax(0)

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        nats = -self.log_p.double()[x.long()]
        return {("reconstruction",): torch.where(condition.role == Role.MODELLED, nats, 0.0).flatten(1).sum(1)}


def test_the_error_is_over_whole_pictures(folder: Path) -> None:
    """Whatever the tiles, a model of independent pixels has one bound and one error; where things are of equal sizes,
    the error is that of their mean."""
    found = []
    for pieces in (Pieces((4, 4), 1, 4), Pieces((8, 5), 2, 2), Pieces((32, 32), 8, 4)):
        data = load_photographs(folder, pieces)
        assert isinstance(data.fresh, Crops)
        whole = tiles(data.fresh.album, pieces, np.arange(8)).split(None)
        evaluation = measure_bound(Independent(data.shape, 16), whole, passes=2)
        assert evaluation.things == 8
        found.append((evaluation.bits_per_dim, evaluation.se_data))
    assert np.allclose(found, found[0]) and found[0][1] > 0
    nats = np.random.default_rng(0).normal(5, 1, 40)
    each, fours = (Wholes(np.arange(40) // n, np.full(40 // n, 7.0 * n), np.arange(40 // n)) for n in (1, 4))
    assert each.error(nats) == pytest.approx(nats.std(ddof=1) / math.sqrt(40) / 7)
    assert fours.error(nats) == pytest.approx(nats.reshape(10, 4).sum(1).std(ddof=1) / math.sqrt(10) / 28)
