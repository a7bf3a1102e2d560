"""Arrays of vectors are tables of real columns; the law of the moons is the one that they are drawn from."""

from pathlib import Path

import numpy as np
import pytest

import vlb
from vlb.base.errors import UserError
from vlb.core.schema import Real
from vlb.data.mixed import array, inferred, load_mixed
from vlb.data.sources import load
from vlb.data.vectors import NOISE, moons, moons_log_density
from vlb.pages.plane import plane


def test_the_density_of_the_moons_integrates_to_one_and_is_that_of_the_draws() -> None:
    """The mass of cells against how often draws fall into them: 6σ each of 16 quarters, false alarm 4e-8."""
    side = np.linspace(-2.5, 3.5, 121)
    step = side[1] - side[0]
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1)
    mass = np.exp(moons_log_density(grid.reshape(-1, 2))).reshape(121, 121) * step**2
    assert abs(mass.sum() - 1) < 1e-6
    n, x = 20_000, moons(20_000, seed=1)
    edges = side[[30, 45, 60, 75, 90]] - step / 2
    found = np.histogram2d(*x.T, [edges, edges])[0]
    for i in range(4):
        for j in range(4):
            p = mass[30 + 15 * i : 45 + 15 * i, 30 + 15 * j : 45 + 15 * j].sum()
            assert abs(found[i, j] - n * p) < 6 * (n * p * (1 - p)) ** 0.5 + 1e-3 * n * p + 1


def test_far_away_the_density_is_the_nearest_moon() -> None:
    """At a point ten deviations beyond the end of the first moon, log p falls as the square of the distance."""
    near, far = moons_log_density(np.array([[-1 - 5 * NOISE, 0.3], [-1 - 10 * NOISE, 0.3]]))
    assert 30 < near - far < 45  # (100 − 25)/2 = 37.5


def test_an_array_is_real_columns(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3)).round(1).astype(np.float32)
    x[3, 1] = np.nan
    np.save(tmp_path / "a.npy", x)
    data = load_mixed(tmp_path / "a.npy")
    assert data.shape == (3,) and all(kind == Real() for kind in data.schema.each)
    assert sum(int((~split.observed).sum()) for split in (data.train, data.validation, data.test)) == 1  # type: ignore[operator]
    for wrong, words in ((x[0], "shape"), (x.astype("U5"), "no array of numbers|of shape")):
        np.save(tmp_path / "b.npy", wrong)
        with pytest.raises(UserError, match=words):
            load_mixed(tmp_path / "b.npy")


@pytest.mark.slow
def test_the_moons_are_learned(tmp_path: Path) -> None:
    """The divergence from the known law is far below that of one Gaussian (0.7 nats), and the page draws both."""
    run = vlb.train("moons", out=tmp_path / "run").run
    found = plane(run.model(), load("moons"))  # type: ignore[arg-type]
    assert found is not None and found.excess is not None and found.true is not None
    assert -0.1 < found.excess[0] < 0.25
    assert "The density over the plane" in vlb.report(run).path.read_text()


def test_columns_without_a_name_are_called_by_their_number() -> None:
    values = np.random.default_rng(0).normal(size=(20, 3))
    values[4, 1], values[:, 2] = np.inf, np.nan
    with pytest.raises(UserError, match=r"column 2 holds an infinity.*; column 3 has no cell that is not missing"):
        inferred(array(values))


def test_a_mixture_takes_no_steps(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 2)))
    options = vlb.TrainOptions(overrides=("training.steps=1", "components=1"))
    with pytest.raises(UserError, match=r"fitted before training and takes no steps: --set training\.steps=0"):
        vlb.train("table", options, data=tmp_path / "x.npy", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
