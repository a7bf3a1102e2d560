"""Clouds of several numbers of points: read and apart again, absent points change nothing, and every verb."""

import math
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vlb
from tests.data.test_points import folder_of
from vlb.base import configuration
from vlb.base.errors import UserError
from vlb.core.condition import Role
from vlb.core.layouts import Points, VaryingPoints
from vlb.core.schema import Real, Schema
from vlb.data import Dataset, Split
from vlb.data.baselines import per_example
from vlb.data.given import load_examples
from vlb.data.independent import GaussianPoint
from vlb.data.pieces import alone
from vlb.data.points import load_points
from vlb.data.sets import clouds_of, split_of, varying
from vlb.generate.clouds import SIDE, ply
from vlb.measure.clouds import chamfer, likeness
from vlb.measure.wholes import Wholes
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.preconditioned import Preconditioned
from vlb.nn.sets import SetAttention
from vlb.store.experiment import DataSource, Experiment, Training
from vlb.store.runs import Run


def clouds(*numbers: int, coordinates: int = 3, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(number, coordinates)) for number in numbers]


def packed(path: Path, *each: np.ndarray, **others: np.ndarray) -> Path:
    np.savez(path, x=np.concatenate(each), numbers=[len(cloud) for cloud in each], **others)
    return path


def every(data: Dataset) -> set[bytes]:
    return {cloud.tobytes() for part in (data.train, data.validation, data.test) for cloud in clouds_of(part)}


numbers_of_points = st.lists(st.integers(2, 7), min_size=3, max_size=12)


@given(numbers_of_points, st.integers(2, 3), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_clouds_of_several_numbers_come_apart_again(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], coordinates: int, seed: int
) -> None:
    """From a folder and from an archive: the same data, every cloud in one split, whatever the numbers."""
    folder, each = tmp_path_factory.mktemp("x"), clouds(*numbers, coordinates=coordinates, seed=seed)
    one, other = load_points(folder_of(folder / "x", *each)), load_points(packed(folder / "x.npz", *each))
    assert one.fingerprint == other.fingerprint
    assert every(one) == {cloud.tobytes() for cloud in each}
    layout = one.schema.layout
    assert isinstance(layout, Points) and layout.shape == (max(numbers), coordinates)
    assert layout.padded == (len(set(numbers)) > 1)
    assert configuration.decode(Schema, configuration.encode(one.schema)) == one.schema
    if isinstance(layout, VaryingPoints):
        assert layout == varying(*layout.shape, [len(cloud) for cloud in clouds_of(one.train)])
        assert one.train.sizes.tolist() == [cloud.size for cloud in clouds_of(one.train)]


@given(numbers_of_points, st.integers(1, 200))
@settings(max_examples=30, deadline=None)
def test_samples_have_the_numbers_of_the_data(numbers: list[int], times: int) -> None:
    """In even steps, as many samples as clouds have their numbers exactly."""
    layout = varying(max(numbers), 3, numbers)
    n = times * len(numbers)
    role = alone(Schema(layout=layout, kinds=Real()), n).role
    assert role is not None and set(role.unique().tolist()) <= {Role.MODELLED, Role.ABSENT}
    found = (role == Role.MODELLED)[..., 0].sum(1).tolist()
    assert found == sorted(numbers * times)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    each = clouds(4, 2, 6)
    x, numbers = np.concatenate(each), np.array([4, 2, 6])
    nan = x.copy()
    nan[5, 1] = np.nan
    for content, words in (
        ({"x": nan, "numbers": numbers}, r"point 1 of cloud 1 is \[.*nan.*\], no place"),
        ({"x": x, "numbers": numbers + 1}, r"shape \(12, 3\) beside `numbers` of 15 points in all"),
        ({"x": x[None], "numbers": numbers}, "give the points of all clouds, one cloud after the other"),
        ({"x": x, "numbers": np.array([4, 1, 7])}, "cloud 1 has 1 point: a cloud has at least 2"),
        ({"x": x, "numbers": np.array([6, -1, 7])}, "beside `numbers`"),
        ({"x": x, "numbers": numbers / 2}, "`numbers` holds float64"),
        ({"x": x, "numbers": np.zeros((0,), int)}, "`numbers` holds int64 of shape"),
        ({"x": x}, "is a single cloud.*how many points each has as `numbers`"),
        ({"x": x[:, :1], "numbers": numbers}, "points are of 2 or 3 coordinates"),
        ({"x": np.zeros((8196, 3)), "numbers": np.array([8193, 3])}, "cloud 0, has 8,193 points.*--points 1024"),
        (
            {"x_train": x, "numbers_train": numbers, "x_test": x[:, :2], "numbers_test": numbers},
            "points of 2 and of 3 coordinates",
        ),
    ):
        np.savez(tmp_path / "x.npz", **content)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=words):
            load_points(tmp_path / "x.npz")
    for several, often in (((), ()), ((3, 2), (1, 1)), ((2, 2), (1, 1)), ((2,), ()), ((2, 5), (1, 1))):
        with pytest.raises(UserError, match=r"say each number once|none of at most"):
            VaryingPoints((4, 3), several, often)


def test_a_number_of_points_is_drawn_of_each(tmp_path: Path) -> None:
    data = load_points(packed(tmp_path / "x.npz", *clouds(4, 5, 6, 4)), 4)
    assert data.schema.layout == Points((4, 3)) and "up to 6 points, of which 4 are drawn" in data.remarks[0]
    with pytest.raises(UserError, match=r"cloud 1, has 3 points, fewer than the 4"):
        load_points(packed(tmp_path / "x.npz", *clouds(4, 3, 6)), 4)


def test_splits_and_classes_of_an_archive(tmp_path: Path) -> None:
    parts = {}
    for split, numbers in (("train", (3, 4)), ("val", (5,)), ("test", (2,))):
        parts[f"x_{split}"] = np.concatenate(clouds(*numbers))
        parts[f"numbers_{split}"] = np.array(numbers)
        parts[f"labels_{split}"] = np.array(["b", "a", "a"][: len(numbers)])
    np.savez(tmp_path / "x.npz", **parts)  # type: ignore[arg-type]
    data = load_points(tmp_path / "x.npz")
    assert data.schema.labels == ("a", "b") and not data.left_out
    assert data.schema.layout == VaryingPoints((5, 3), (3, 4), (1, 1))
    assert [part.sizes.tolist() for part in (data.train, data.validation, data.test)] == [[9, 12], [15], [6]]


def test_examples_of_a_model(tmp_path: Path) -> None:
    schema = Schema(layout=varying(6, 3, [4, 4, 6]), kinds=Real())
    each = clouds(6, 2, 5)
    for path in (packed(tmp_path / "x.npz", *each), folder_of(tmp_path / "f", *each)):
        found = clouds_of(load_examples(path, schema).split)
        assert [cloud.tolist() for cloud in found] == [cloud.tolist() for cloud in each]
    np.save(tmp_path / "one.npy", each[1])
    assert load_examples(tmp_path / "one.npy", schema).split.sizes.tolist() == [6]
    with pytest.raises(UserError, match="a cloud of 7 points, and the model is of at most 6"):
        load_examples(packed(tmp_path / "y.npz", *clouds(3, 7)), schema)


def test_baselines_are_of_the_points_that_are_there() -> None:
    """As of each cloud by itself, wherever an absent point is."""
    numbers = [6, 3, 4, 5] * 10
    each, layout = clouds(*numbers), varying(6, 3, numbers)
    split, schema = split_of(each, layout), Schema(layout=layout, kinds=Real())
    far = Split(np.where(split.modelled, split.x, 1e9), observed=split.observed, counted=split.counted)
    law = GaussianPoint(split)
    alone = [law.log_prob(Split(cloud[None]))[0] for cloud in each]
    assert np.allclose(law.log_prob(split), alone)
    for name in ("independent-pixels", "mixture-of-points"):
        found = per_example(name, Dataset("x", schema, split, split, split), split)
        assert np.allclose(found, per_example(name, Dataset("x", schema, far, far, far), far))


def test_the_error_is_that_of_a_ratio() -> None:
    """What costs the same per coordinate in clouds of all sizes is known without error."""
    layout = varying(6, 3, [2, 6])
    split = split_of(clouds(6, 2, 5, 3), layout)
    wholes = Wholes.of(split)
    assert wholes is not None and not wholes.cut and wholes.error(1.7 * split.sizes) == pytest.approx(0, abs=1e-12)


@given(st.lists(st.integers(1, 6), min_size=2, max_size=4), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_chamfer_distances_of_several_numbers(numbers: list[int], seed: int) -> None:
    """By their definition, pair by pair."""
    a, b = clouds(*numbers, seed=seed), clouds(*reversed(numbers), seed=seed + 1)
    found = chamfer(a, b)
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            squared = ((p[:, None] - q) ** 2).sum(-1)
            assert found[i, j] == pytest.approx(squared.min(1).mean() + squared.min(0).mean())
    alike = likeness(a, b)
    assert alike.matching == pytest.approx(found.min(0).mean()) and alike.matching_error >= 0


def trained(folder: Path, condition: str = "none") -> Run:
    """Of clouds of 3 to 6 points in two classes, after a few steps."""
    numbers = [3, 6, 4, 6, 5] * 8
    packed(folder / "x.npz", *clouds(*numbers), labels=np.arange(40) % 2)
    experiment = Experiment(
        recipe="points",
        data=DataSource(name="points", path=str(folder / "x.npz")),
        model=Diffusion(
            backbone=SetAttention(width=8, blocks=1), head=Preconditioned(components=2), condition=condition
        ),  # type: ignore[arg-type]
        training=Training(steps=4, batch=8, warmup=1, validate_every=4, checkpoint_every=4),
    )
    return vlb.train(experiment, out=folder / "run").run


@pytest.mark.parametrize("condition", ["none", "labels"])
def test_they_go_through_every_verb(condition: str, tmp_path: Path) -> None:
    run = trained(tmp_path, condition)
    result = vlb.evaluate(run, "test", vlb.EvaluateOptions(passes=2))
    test = run.data().test
    assert result.dimensions == test.sizes.mean() and f"{test.sizes.sum()} dimensions" in result.table().title
    orders = np.mean([math.lgamma(len(cloud) + 1) for cloud in clouds_of(test)])
    assert result.nats_per_set == pytest.approx(result.nats_per_example - orders)

    drawn = vlb.sample(run, vlb.SampleOptions(n=6, steps=4))
    assert {len(cloud) for cloud in drawn.clouds} <= {3, 4, 5, 6} and len(drawn.values()["x"]) == 6
    (tmp_path / "drawn.npz").write_bytes(drawn.as_npz())
    again = load_points(tmp_path / "drawn.npz")
    assert every(again) == {cloud.tobytes() for cloud in drawn.clouds}
    assert drawn.as_files() == (".ply", [ply(cloud) for cloud in drawn.clouds])
    sizes = [len(cloud) for cloud in drawn.clouds]
    assert f"{min(sizes)} to {max(sizes)}" in str(drawn.table())
    assert Image.open(BytesIO(drawn.as_png())).size == (3 * (SIDE + 1) + 1, 2 * (SIDE + 1) + 1)
    with pytest.raises(UserError, match=r"no array: use \.npz, or a folder"):
        drawn.as_npy()
    five = vlb.sample(run, vlb.SampleOptions(n=2, steps=4, points=5, sampler="ddim"))
    assert [len(cloud) for cloud in five.clouds] == [5, 5]
    with pytest.raises(UserError, match="--points 7: the clouds that the model knows have at most 6"):
        vlb.sample(run, vlb.SampleOptions(n=2, points=7))

    scored = vlb.score(run, "test", vlb.ScoreOptions(passes=2)).columns
    sizes = scored["dimensions"]
    assert sizes.tolist() == test.sizes.tolist()
    assert np.allclose(scored["nats"] - scored["nats_of_the_set"], [math.lgamma(size / 3 + 1) for size in sizes])
    assert np.allclose(scored["bits_per_dim"], scored["nats"] / sizes / math.log(2))
    if condition == "none":
        compared = vlb.compare([run.path, "mixture-of-points"], vlb.CompareOptions(passes=2))
        assert compared.each == "example" and "dimensions" in compared.table().title
        page = vlb.report(run).path.read_text()
        for words in ("Coverage", "Which clouds cost most", "to 18 dimensions", "squared units of the data"):
            assert words in page
    with pytest.raises(UserError, match="only models of discrete data compress"):
        vlb.compress(run, [tmp_path / "x.npz"], tmp_path / "a.vlb")


def test_a_run_whose_data_are_gone(tmp_path: Path) -> None:
    run = trained(tmp_path)
    packed(tmp_path / "own.npz", *clouds(6, 2, 4))
    (tmp_path / "x.npz").unlink()
    assert len(vlb.sample(run, vlb.SampleOptions(n=2, steps=3)).clouds) == 2
    assert len(vlb.score(run, tmp_path / "own.npz").columns["nats"]) == 3


def test_a_number_is_of_models_that_know_several(tmp_path: Path) -> None:
    from tests.data.test_points import trained as of_one_number

    with pytest.raises(UserError, match="--points is of models of clouds of several numbers"):
        vlb.sample(of_one_number(tmp_path), vlb.SampleOptions(n=1, points=5))


def test_an_archive_of_samples_of_one_number_is_an_array(tmp_path: Path) -> None:
    from tests.data.test_points import trained as of_one_number

    drawn = vlb.sample(of_one_number(tmp_path), vlb.SampleOptions(n=2, steps=3))
    assert np.load(BytesIO(drawn.as_npz())).files == ["x"]
