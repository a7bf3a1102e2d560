"""Point clouds: what is read of files and folders, what is wrong with them, known surfaces, and every verb."""

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
from vlb.core.layouts import Points
from vlb.core.schema import Real, Schema
from vlb.data import Dataset, Split, load
from vlb.data.baselines import baselines, per_example
from vlb.data.given import load_examples
from vlb.data.independent import GaussianPoint, MixedPoint
from vlb.data.points import as_clouds, fewer, load_points
from vlb.data.surfaces import NAMES, NOISE, ON, surfaces
from vlb.generate.clouds import SIDE, View, ply, scatter
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.preconditioned import Preconditioned
from vlb.nn.sets import SetAttention
from vlb.store.experiment import DataSource, Experiment, Training
from vlb.store.runs import Run


def clouds(count: int, number: int = 6, coordinates: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, number, coordinates))


def saved(folder: Path, x: np.ndarray, name: str = "x.npy") -> Path:
    np.save(folder / name, x)
    return folder / name


def folder_of(folder: Path, *each: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, cloud in enumerate(each):
        np.save(folder / f"{number:03}.npy", cloud)
    return folder


def every(data: Dataset) -> np.ndarray:
    """All clouds of all splits as they are, in an order of their own."""
    return in_order(np.concatenate([data.train.x, data.validation.x, data.test.x]))


def in_order(x: np.ndarray) -> np.ndarray:
    """Clouds sorted by all that they are."""
    return x[np.lexsort(x.reshape(len(x), -1).T)]


@given(
    st.integers(3, 30), st.integers(2, 5), st.integers(2, 3), st.sampled_from(["f2", "<f4", ">f8", "i2"]), st.booleans()
)
@settings(max_examples=30, deadline=None)
def test_every_cloud_is_in_one_split(
    tmp_path_factory: pytest.TempPathFactory, n: int, number: int, coordinates: int, kind: str, archive: bool
) -> None:
    x = (10 * clouds(n, number, coordinates, n)).astype(kind)
    path = tmp_path_factory.mktemp("x") / ("x.npz" if archive else "x.npy")
    if archive:
        np.savez(path, x=x, labels=np.arange(n))
    else:
        np.save(path, x)
    data = load_points(path)
    assert data.schema.layout == Points((number, coordinates)) and data.schema.kinds == Real()
    assert data.schema.classes == (n if archive else None)
    assert np.array_equal(every(data), in_order(x.astype(float)))
    for split in (data.train, data.validation, data.test):
        assert split.x.dtype == np.float64
        if archive:
            assert split.labels is not None and np.array_equal(split.x, x.astype(float)[split.labels])


def test_a_folder_is_as_an_array(tmp_path: Path) -> None:
    x = clouds(12)
    one, other = load_points(folder_of(tmp_path / "all", *x)), load_points(saved(tmp_path, x))
    assert one.fingerprint == other.fingerprint


def test_folders_are_classes_and_splits(tmp_path: Path) -> None:
    for split, seed in (("train", 0), ("test", 1), ("validation", 2)):
        for name in ("a", "b"):
            folder_of(tmp_path / split / name, *clouds(2 + seed, seed=seed))
    (tmp_path / "readme.txt").write_text("x")
    (tmp_path / "train" / ".hidden.npy").write_text("x")
    data = load_points(tmp_path)
    assert data.schema.labels == ("a", "b") and [len(data.train), len(data.test), len(data.validation)] == [4, 6, 8]
    assert {reason.why for reason in data.left_out} == {"hidden files", "other files (.txt)"}


@given(st.integers(2, 9), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_fewer_points_are_of_the_cloud(number: int, seed: int) -> None:
    """Drawn without replacement, in their order, and the same ones wherever the cloud lies."""
    x = clouds(4, 9, seed=seed)
    found = fewer(x, number, "x")
    for cloud, some in zip(x, found, strict=True):
        places = [int(np.flatnonzero((cloud == point).all(1))[0]) for point in some]
        assert places == sorted(set(places)) and len(places) == number
    assert np.array_equal(fewer(x[2:], number, "x"), found[2:])


def test_what_is_wrong_with_arrays_is_said(tmp_path: Path) -> None:
    x = clouds(10)
    nan, infinite = x.copy(), x.copy()
    nan[3, 2, 1], infinite[4, 5, 0] = np.nan, np.inf
    for bad, words in (
        (nan, r"x\.npy: point 2 of cloud 3 is \[.*nan.*\], no place"),
        (x * 1e200, "no place"),
        (infinite, r"point 5 of cloud 4 is \[inf"),
        (x[0], r"is a single cloud, of shape \(6, 3\)"),
        (x[..., :1], "of 2 or 3 coordinates"),
        (np.concatenate((x, x), 2), "of 2 or 3 coordinates"),
        (x[:, :1], "holds clouds of 1 point: a cloud has at least 2"),
        (x[:, :0], "clouds of 0 points"),
        (x[:0], r"has shape \(0, 6, 3\)"),
        (x > 0, "holds bool: coordinates are numbers"),
        (x + 1j, "holds complex128"),
        (x[:2], "holds 2 examples; at least 3"),
        (np.array([None]), "holds Python objects"),
        (np.zeros((3, 8193, 3)), "8,193 points, and a model sees 8,192"),
    ):
        with pytest.raises(UserError, match=words):
            load_points(saved(tmp_path, bad))
    with pytest.raises(UserError, match=r"x\.npy, cloud 0, has 6 points, fewer than the 7 of a cloud: .*--points 6"):
        load_points(saved(tmp_path, x), 7)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    (tmp_path / "x.txt").write_text("0 0 0")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("x.npy", "no readable numpy file"),
        ("x.txt", "of no known kind: points are"),
        ("nowhere.npy", "there is nothing at"),
        ("empty", "holds no clouds and no meshes"),
    ):
        with pytest.raises(UserError, match=words):
            load_points(tmp_path / name)
    with pytest.raises(UserError, match="needs a path"):
        load("points")


def test_what_is_wrong_in_folders_is_said(tmp_path: Path) -> None:
    nan = clouds(1)[0]
    nan[1, 1] = np.nan
    for number, (bad, words) in enumerate(
        (
            (np.zeros((8193, 3)), r"003\.npy has 8,193 points, and a model sees 8,192: say how many .* --points 1024"),
            (clouds(1, 5)[0, :, :1], r"003\.npy has shape .*: points are of 2 or 3 coordinates"),
            (clouds(1, 6, 2)[0], "has points of 2 coordinates"),
            (clouds(2), "holds several clouds: in a folder each is a file"),
            (nan, r"003\.npy: point 1 of cloud 0 .* --skip-damaged"),
            (clouds(1, 1)[0], "a cloud has at least 2; --skip-damaged leaves"),
        )
    ):
        folder = folder_of(tmp_path / str(number), *clouds(3), bad)
        with pytest.raises(UserError, match=words):
            load_points(folder)
    with pytest.raises(UserError, match=r"003\.npy has 5 points, fewer than the 6 of a cloud: .*--skip-damaged"):
        load_points(folder_of(tmp_path / "few", *clouds(3), clouds(1, 5)[0]), 6)


def test_damaged_clouds_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", *clouds(5), clouds(1, 4)[0], clouds(1, 8)[0])
    (folder / "bad.npy").write_bytes(b"\x93NUMPY")
    data = load_points(folder, 6, skip_damaged=True)
    assert len(every(data)) == 6
    assert [(reason.why, reason.count) for reason in data.left_out] == [("damaged, or of too few points", 2)]
    assert any("1 cloud had more points, of which 6 each are drawn" in remark for remark in data.remarks)
    only = folder_of(tmp_path / "only", clouds(1, 3)[0])
    with pytest.raises(UserError, match=r"none of 1 clouds can be used, the first so: .*fewer than the 6"):
        load_points(only, 6, skip_damaged=True)


def test_examples_of_a_model(tmp_path: Path) -> None:
    schema = Schema(layout=Points((6, 3)), kinds=Real(), labels=("a", "b"))
    x = clouds(4)
    assert np.array_equal(load_examples(saved(tmp_path, x), schema).split.x, x)
    assert np.array_equal(load_examples(saved(tmp_path, x[1]), schema).split.x, x[1:2])
    np.savez(tmp_path / "x.npz", x=x, y=np.array(["b", "a", "a", "b"]))
    assert load_examples(tmp_path / "x.npz", schema).split.labels.tolist() == [1, 0, 0, 1]  # type: ignore[union-attr]
    folder_of(tmp_path / "f" / "b", *x[:2]), folder_of(tmp_path / "f" / "a", *x[2:])
    found = load_examples(tmp_path / "f", schema)
    assert np.array_equal(found.split.x, x[[2, 3, 0, 1]]) and found.names == (
        "a/000.npy",
        "a/001.npy",
        "b/000.npy",
        "b/001.npy",
    )
    assert found.split.labels is not None and found.split.labels.tolist() == [0, 0, 1, 1]
    for bad, words in (
        (clouds(2, 5), "fewer than the 6"),
        (clouds(2, 6, 2), "of 2 coordinates, and the model is of 3"),
    ):
        with pytest.raises(UserError, match=words):
            load_examples(saved(tmp_path, bad), schema)
    larger = load_examples(saved(tmp_path, clouds(2, 9)), schema).split.x
    assert larger.shape == (2, 6, 3)


@pytest.mark.parametrize("label", range(len(NAMES)))
def test_points_are_evenly_on_surfaces(label: int) -> None:
    """Moments of shapes of known proportions, in their own axes, against integrals over their surfaces; 5.5 standard
    errors (4e-8 each)."""
    rng = np.random.default_rng(label)
    n, number = 200, 500
    a, b = np.full((n, 1), 0.7), np.full((n, 1), 0.5)
    x = ON[label](a, b, number, rng).reshape(-1, 3)
    out, height = np.hypot(x[:, 0], x[:, 1]), x[:, 2]
    tube, flank = 0.34, 1 / math.sqrt(1 + 0.7**2)
    half = np.array([1, 0.7, 0.5]) / math.sqrt(1 + 0.7**2 + 0.5**2)
    if label == 0:
        assert np.allclose((x**2).sum(1), 1)
        squares = np.full(3, 1 / 3)
    elif label == 1:
        assert np.allclose((np.abs(x) / half).max(1), 1)
        areas = half.prod() / half
        weight = areas / areas.sum()
        squares = half**2 * (weight + (1 - weight) / 3)
    elif label == 2:
        assert np.allclose(np.maximum(out / flank, np.abs(height) / (0.7 * flank)), 1)
        side = 1.4 / 2.4
        across = flank**2 * (side / 2 + (1 - side) / 4)
        squares = np.array([across, across, (0.7 * flank) ** 2 * (side / 3 + (1 - side))])
    else:
        assert np.allclose(((1 + tube) * out - 1) ** 2 + ((1 + tube) * height) ** 2, tube**2)
        across = (1 + 1.5 * tube**2) / 2 / (1 + tube) ** 2  # E (1 + t cos)² under (1 + t cos)/2π, half in each axis
        squares = np.array([across, across, tube**2 / 2 / (1 + tube) ** 2])
    error = 5.5 / math.sqrt(len(x))
    assert (np.abs(x.mean(0)) < error * x.std(0)).all()
    assert (np.abs((x**2).mean(0) - squares) < error * (x**2).std(0) + 1e-9).all()


def test_clouds_are_turned_and_noisy() -> None:
    """Balls of a radius within [0.5, 1], up to noise; the same ones each time."""
    x = surfaces(np.zeros(50, int), 400, np.random.default_rng(0))
    radius = np.sqrt((x**2).sum(2))
    spread = radius.std(1)
    assert (np.abs(spread / NOISE - 1) < 5.5 / math.sqrt(800) + 0.01).all()
    assert radius.mean(1).min() > 0.5 and radius.mean(1).max() < 1.01
    assert np.array_equal(x, surfaces(np.zeros(50, int), 400, np.random.default_rng(0)))


def test_baselines_are_densities_of_points(tmp_path: Path) -> None:
    """Of Gaussian data both are near the true −log p, in the units of the data, and do not know an order."""
    x = np.array([1.0, -3.0, 100.0]) + np.array([0.1, 5.0, 20.0]) * clouds(600, 8)
    data = load_points(saved(tmp_path, x))
    entropy = 8 * (1.5 * math.log(2 * math.pi * math.e) + math.log(0.1 * 5 * 20))
    for law in (GaussianPoint(data.train), MixedPoint(data.train)):
        nats = -law.log_prob(data.test)
        assert abs(nats.mean() - entropy) < 6 * math.sqrt(12 / len(nats)) + 0.5
        turned = Split(data.test.x[:, ::-1])
        assert np.allclose(law.log_prob(turned), -nats)
    found = baselines(data, "test")
    assert set(found) == {"independent_pixels", "mixture_of_points"}
    own = per_example("mixture-of-points", data, data.test)
    assert found["mixture_of_points"] == pytest.approx(own.mean() / 24 / math.log(2))
    with pytest.raises(UserError, match="have no uniform law"):
        per_example("uniform", data, data.test)


def test_pictures_show_what_is_near_brighter() -> None:
    """In the plane, axes are the picture's; in space, the last one points up."""
    flat = np.array([[[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]])
    picture = scatter(flat, View(np.zeros(2), 1.2))[0, 0]
    middle = (SIDE - 1) / 2
    rows, columns = np.nonzero(picture)
    assert ((columns > middle) & (np.abs(rows - middle) < 4)).any() and (
        (rows < middle) & (np.abs(columns - middle) < 4)
    ).any()
    up = np.array([[[0, 0, 0.9], [0, 0, 0.9]]])
    assert np.nonzero(scatter(up, View(np.zeros(3), 1.0))[0, 0])[0].max() < middle
    near, far = (scatter(np.array([[p, p]]), View(np.zeros(3), 1.0)).max() for p in ([-0.8, -0.5, 0], [0.8, 0.5, 0]))
    assert near > far > 0
    assert scatter(np.zeros((2, 3, 3))).shape == (2, 1, SIDE, SIDE)


def test_ply_holds_points_of_space() -> None:
    x = clouds(1)[0]
    content = ply(x)
    body = content[content.index(b"end_header\n") + 11 :]
    assert np.array_equal(np.frombuffer(body, "<f8").reshape(-1, 3), x)
    with pytest.raises(UserError, match="points of space"):
        ply(clouds(1, 4, 2)[0])


def trained(folder: Path, condition: str = "none") -> Run:
    """Of twenty clouds of two classes, after a few steps."""
    np.savez(folder / "x.npz", x=clouds(30, 5), labels=np.arange(30) % 2)
    experiment = Experiment(
        recipe="points",
        data=DataSource(name="points", path=str(folder / "x.npz")),
        model=Diffusion(
            backbone=SetAttention(width=8, blocks=1), head=Preconditioned(components=2), condition=condition
        ),  # type: ignore[arg-type]
        loss=DiffusionLoss(),
        training=Training(steps=4, batch=8, warmup=1, validate_every=4, checkpoint_every=4),
    )
    return vlb.train(experiment, out=folder / "run").run


@pytest.mark.parametrize("condition", ["none", "labels"])
def test_points_go_through_every_verb(condition: str, tmp_path: Path) -> None:
    run = trained(tmp_path, condition)
    result = vlb.evaluate(run, "test", vlb.EvaluateOptions(passes=2))
    assert result.dimensions == 15 and "Lebesgue" in result.kind
    assert result.nats_per_set == pytest.approx(result.nats_per_example - math.log(120))
    assert result.values()["nats_per_set"] == result.nats_per_set
    assert "as a set, its order forgotten" in str(result.table())

    drawn = vlb.sample(run, vlb.SampleOptions(n=3, steps=4))
    assert np.array_equal(np.load(BytesIO(drawn.as_npy())), drawn.x) and drawn.x.shape == (3, 5, 3)
    assert drawn.x.dtype == np.float64 and np.unique(drawn.x).size == 45
    assert Image.open(BytesIO(drawn.as_png())).size == (2 * (SIDE + 1) + 1,) * 2
    suffix, files = drawn.as_files()
    assert suffix == ".ply" and files == [ply(x) for x in drawn.x]
    with pytest.raises(UserError, match="holds one cloud: -n 1, or -o FOLDER"):
        drawn.as_ply()
    with pytest.raises(UserError, match="no sound"):
        drawn.as_wavs()

    path = saved(tmp_path, clouds(4, 5, seed=1), "own.npy")
    if condition == "none":
        scored = vlb.score(run, path).columns
        assert np.allclose(scored["nats"] - scored["nats_of_the_set"], math.log(120))
        given = vlb.evaluate(run, path, vlb.EvaluateOptions(passes=2))
        assert given.examples == 4
    with pytest.raises(UserError, match="only models of discrete data compress"):
        vlb.compress(run, [path], tmp_path / "a.vlb")
    with pytest.raises(UserError, match="--likelihood ode is of levels"):
        vlb.evaluate(run, "test", vlb.EvaluateOptions(likelihood="ode"))
    with pytest.raises(UserError, match="only data with levels have a range to clip to"):
        vlb.sample(run, vlb.SampleOptions(n=1, clip=True))


def test_points_are_reported_on(tmp_path: Path) -> None:
    page = vlb.report(trained(tmp_path)).path.read_text()
    for words in (
        "Coverage",
        "Which clouds cost most",
        "as a set, whose order is forgotten",
        "independent coordinates",
    ):
        assert words in page
    assert "Pictures are left out" not in page


def test_a_run_whose_data_are_gone(tmp_path: Path) -> None:
    run = trained(tmp_path)
    path = saved(tmp_path, clouds(4, 5, seed=1), "own.npy")
    (tmp_path / "x.npz").unlink()
    assert vlb.sample(run, vlb.SampleOptions(n=2, steps=3)).x.shape == (2, 5, 3)
    assert len(vlb.score(run, path).columns["nats"]) == 4


def test_a_view_is_checked() -> None:
    x = clouds(3)
    assert all(np.shares_memory(cloud, x) for cloud in as_clouds(x, "x"))
