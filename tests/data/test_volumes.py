"""Volumes: arrays of voxels as they are, shapes of known volume, pictures of known areas, and every verb."""

import math
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vlb
from vlb.base.errors import UserError
from vlb.core.layouts import Volume
from vlb.data import load
from vlb.data.given import load_examples
from vlb.data.shapes import NAMES, solids
from vlb.data.volumes import as_volumes, load_volumes
from vlb.generate.volumes import AZIMUTH, ELEVATION, SIDE, surface
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.kinds import AnyLoss, AnyModel
from vlb.models.mixture.config import Mixture
from vlb.models.mixture.loss import MixtureLoss
from vlb.nn.unet import UNet
from vlb.store.experiment import DataSource, Experiment, Training
from vlb.store.runs import Run
from vlb.training.recipes import recipe


def blocks(count: int, size: tuple[int, ...] = (4, 5, 6), seed: int = 0) -> np.ndarray:
    """Boxes that begin at the first voxel, (count, *size) bool."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(1, np.array(size) + 1, (count, 3))
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    inside: np.ndarray = (places < ends[:, None, None, None]).all(-1)
    return inside


def load_of(x: np.ndarray) -> vlb.Dataset:
    """As from a file."""
    stream = BytesIO()
    np.save(stream, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlb.data.arrays.content_of", lambda path: stream.getvalue())
        patch.setattr(Path, "is_file", lambda path: True)
        return load_volumes(Path("x.npy"))


@given(st.integers(3, 40), st.tuples(*[st.integers(1, 4)] * 3), st.booleans(), st.sampled_from(["?", "u1", ">i4"]))
@settings(max_examples=30, deadline=None)
def test_every_volume_is_in_one_split(n: int, size: tuple[int, ...], channel: bool, kind: str) -> None:
    x = np.random.default_rng(n).integers(0, 2, (n, *size)).astype(kind)
    stream = BytesIO()
    np.savez(stream, x=x[:, None] if channel else x, labels=np.arange(n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlb.data.arrays.content_of", lambda path: stream.getvalue())
        patch.setattr(Path, "is_file", lambda path: True)
        data = load_volumes(Path("x.npz"))
    assert isinstance(data.schema.layout, Volume) and data.shape == (1, *size)
    assert data.levels == (2 if kind == "?" else 256)
    assert bool(data.remarks) == (kind != "?")
    for split in (data.train, data.validation, data.test):
        assert split.labels is not None and np.array_equal(split.x[:, 0], x[split.labels])
    assert len(data.train) + len(data.validation) + len(data.test) == n


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    whole = blocks(10)
    nan = whole.astype(float)
    nan[3, 0, 0, 0] = np.nan
    for x, words in (
        (nan, "example 3 holds nan, not a whole number"),
        (whole * 0.5, "not a whole number"),
        (whole.astype("f4"), "give integer data"),
        (whole.astype("i4") - 1, "holds -1, outside 0..255"),
        (whole[:, 0], r"has shape \(10, 5, 6\); give volumes"),
        (np.stack((whole, whole), 1), "volumes of one channel"),
        (whole[:0], "no voxels"),
        (whole[:2], "holds 2 examples; at least 3"),
        (whole[:, :, :0], "no voxels"),
        (np.array([None]), "holds Python objects"),
    ):
        np.save(tmp_path / "x.npy", x)
        with pytest.raises(UserError, match=words):
            load_volumes(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    (tmp_path / "x.obj").write_text("v 0 0 0")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("x.npy", "no readable numpy file|holds Python objects"),
        ("x.obj", "of no known kind: volumes are"),
        ("empty", "holds no meshes"),
        ("nowhere.npy", "is not there"),
    ):
        with pytest.raises(UserError, match=words):
            load_volumes(tmp_path / name)
    with pytest.raises(UserError, match="needs a path"):
        load("volumes")


def test_too_small_for_the_network() -> None:
    own = recipe("volumes").model
    schema = load_of(blocks(10, (16, 16, 3))).schema
    with pytest.raises(UserError, match="3 resolutions with patch 2 do not fit 16×16×3 elements"):
        own.build(schema)


def test_examples_of_a_model(tmp_path: Path) -> None:
    schema = load_of(blocks(10)).schema
    np.save(tmp_path / "x.npy", blocks(3))
    assert np.array_equal(load_examples(tmp_path / "x.npy", schema).split.x[:, 0], blocks(3))
    np.save(tmp_path / "x.npy", blocks(3, (4, 5, 7)))
    with pytest.raises(UserError, match=r"shape \(1, 4, 5, 7\), and the model is of \(1, 4, 5, 6\)"):
        load_examples(tmp_path / "x.npy", schema)
    np.save(tmp_path / "x.npy", blocks(3) * np.uint8(2))
    with pytest.raises(UserError, match=r"outside 0\.\.1"):
        load_examples(tmp_path / "x.npy", schema)


@pytest.mark.parametrize("label", range(len(NAMES)))
def test_shapes_have_the_volumes_of_solids(label: int) -> None:
    """In the mean over what is drawn, against closed forms; 5.5 standard errors, and a hundredth for what voxels do."""
    x = solids(np.full(400, label), np.random.default_rng(1))
    shares = x.reshape(len(x), -1).mean(1)
    a = np.linspace(0.4, 1, 2001)
    b, tube = a[:, None], 0.2 + 0.2 * a
    of_unit = (
        4 / 3 * np.pi,
        8 * (a * b / (1 + a**2 + b**2) ** 1.5).mean(),
        2 * np.pi * (a / (1 + a**2) ** 1.5).mean(),
        2 * np.pi**2 * (tube**2 / (1 + tube) ** 3).mean(),
    )[label]
    expected = of_unit * (0.45**4 - 0.25**4) / (4 * 0.2)
    assert abs(shares.mean() - expected) < 5.5 * shares.std() / math.sqrt(len(x)) + 0.01 * expected
    again = solids(np.full(400, label), np.random.default_rng(1))
    assert np.array_equal(x, again)


@pytest.mark.parametrize("size", [(16, 16, 16), (3, 8, 5)])
def test_a_full_volume_shows_three_faces(size: tuple[int, int, int]) -> None:
    """The area of each is its own times the cosine of its angle, up to pixels at its rim."""
    picture = surface(np.ones((1, 1, *size), np.uint8), 2)[0, 0]
    depth, height, width = size
    level = math.cos(ELEVATION)
    areas = (
        height * width * math.sin(ELEVATION),
        depth * width * level * math.cos(AZIMUTH),
        depth * height * level * math.sin(AZIMUTH),
    )
    across = max(
        height * math.sin(AZIMUTH) + width * math.cos(AZIMUTH),
        depth * level + math.sin(ELEVATION) * (height * math.cos(AZIMUTH) + width * math.sin(AZIMUTH)),
    )
    pixel = (across / SIDE) ** 2
    assert (picture > 0).sum() * pixel == pytest.approx(sum(areas), abs=4 * SIDE * pixel)
    top = picture[(picture > 165)].size * pixel
    assert top == pytest.approx(areas[0], abs=4 * SIDE * pixel)
    rows = np.flatnonzero((picture > 165).any(1))
    assert rows.max() < np.flatnonzero((picture > 0).any(1)).max()  # the brightest face is above the others


@given(st.integers(0, 99), st.integers(2, 300))
@settings(max_examples=20, deadline=None)
def test_more_voxels_cover_more(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    few, more = np.sort(rng.integers(0, levels, (2, 3, 1, 2, 3, 4)), 0)
    assert not ((surface(few, levels) > 0) & (surface(more, levels) == 0)).any()
    assert not surface(np.zeros_like(few), levels).any()
    solid = few >= levels / 2
    assert np.array_equal(surface(few, levels), surface(solid.astype(np.uint8), 2))
    assert np.array_equal((surface(few, levels) > 0).any((1, 2, 3)), solid.any((1, 2, 3, 4)))


KINDS: dict[str, tuple[AnyModel, AnyLoss]] = {
    "diffusion": (Diffusion(backbone=UNet(widths=(4,), attention=(False,), patch=2)), DiffusionLoss()),
    "mixture": (Mixture(components=3, em_steps=5), MixtureLoss()),
}


def trained(kind: str, folder: Path) -> Run:
    """Of twenty blocks, after a few steps."""
    np.save(folder / "x.npy", blocks(20))
    model, loss = KINDS[kind]
    experiment = Experiment(
        recipe="volumes",
        data=DataSource(name="volumes", path=str(folder / "x.npy")),
        model=model,
        loss=loss,
        training=Training(steps=4, batch=8, warmup=1, validate_every=4, checkpoint_every=4),
    )
    return vlb.train(experiment, out=folder / "run").run


@pytest.mark.parametrize("kind", KINDS)
def test_volumes_go_through_every_verb(kind: str, tmp_path: Path) -> None:
    run = trained(kind, tmp_path)
    result = vlb.evaluate(run, "test", vlb.EvaluateOptions(passes=2))
    assert result.dimensions == 120 and {"independent_pixels", "lzma"} <= set(result.baselines)

    drawn = vlb.sample(run, vlb.SampleOptions(n=3, steps=4 if kind == "diffusion" else None))
    assert np.array_equal(np.load(BytesIO(drawn.as_npy())), drawn.x) and drawn.x.shape == (3, 1, 4, 5, 6)
    assert Image.open(BytesIO(drawn.as_png())).size == (2 * (SIDE + 1) + 1,) * 2
    with pytest.raises(UserError, match="no sound"):
        drawn.as_wavs()

    np.save(tmp_path / "sampled.npy", drawn.x)
    np.save(tmp_path / "turned.npy", np.asfortranarray(blocks(4, seed=1)))
    assert len(vlb.score(run, tmp_path / "turned.npy", vlb.ScoreOptions(passes=2, draws=2)).columns["nats"]) == 4
    given_ = [tmp_path / name for name in ("x.npy", "sampled.npy", "turned.npy")]
    done = vlb.compress(run, given_, tmp_path / "a.vlb", vlb.CompressOptions(effort="fast"))
    assert done.summary.examples == 27
    vlb.decompress(tmp_path / "a.vlb", tmp_path / "out", run=run.path)
    for path in given_:
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", [pytest.param("diffusion", marks=pytest.mark.slow), "mixture"])
def test_volumes_are_reported_on(kind: str, tmp_path: Path) -> None:
    page = vlb.report(trained(kind, tmp_path)).path.read_text()
    assert "are solid" in page and "independent voxels" in page and "Pictures are left out" not in page


def test_a_view_is_no_copy() -> None:
    x = blocks(3)
    assert np.shares_memory(as_volumes(x, "x"), x)
