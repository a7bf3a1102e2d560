"""`vlb sample`: every sampler and grid by name, and combinations that make no sense."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.commands.test_cli import TINY, vlb
from vlb.base.errors import UserError
from vlb.generate.sample import learned_density
from vlb.models.diffusion.grids import GRIDS, LearnedQuantiles, UniformLogSNR
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.samplers import SAMPLERS
from vlb.store.runs import Run, load


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "labelled"
    assert vlb("train", "digits", "--out", path, "--condition", "labels", *TINY) == 0
    return path


def drawn(run: Path, out: Path, *arguments: str) -> np.ndarray:
    assert vlb("sample", run, "-n", "3", "-o", out, *arguments) == 0
    return np.load(out)["x"]


STEPS = dict.fromkeys(SAMPLERS.offered, ("--steps", "3")) | {"ode": ()}


@pytest.mark.parametrize(
    ("sampler", "grid"),
    [(sampler, grid) for sampler in SAMPLERS.offered for grid in GRIDS.offered if sampler != "ode" or grid == "t"],
)
def test_every_sampler_serves_on_every_grid(sampler: str, grid: str, run: Path, tmp_path: Path) -> None:
    x = drawn(run, tmp_path / "x.npz", "--sampler", sampler, "--grid", grid, *STEPS[sampler])
    assert x.shape == (3, 1, 8, 8) and x.dtype == np.uint8 and x.max() <= 16


def test_what_cannot_be_written_is_not_drawn(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vlb.generate.sample.drawn", lambda *_, **__: pytest.fail("it was drawn"))
    for name, words in (("x.wav", "holds one sample: -n 1"), ("x.csv", "no rows of a table"), ("x", "are no sound")):
        assert vlb("sample", run, "-n", "3", "-o", tmp_path / name) == 2
        assert words in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / name).exists()


def test_the_learned_grid_halves_the_learned_density(run: Path) -> None:
    """Equal shares of p(λ) between its times, by the density's own integral; a run without one says so."""
    opened = Run.open(run)
    model = opened.model()
    assert isinstance(model, DiffusionModel)
    loss, schedule = opened.loss(model), model.process.schedule
    density = learned_density(loss, schedule)
    grid = LearnedQuantiles().build(lambda: density)(schedule, 5)
    gamma = model.process.schedule.gamma(grid).squeeze(-1)
    shares = [
        torch.trapezoid(density(-torch.linspace(a, b, 2001, dtype=torch.float64)), dx=(b - a) / 2000).item()
        for a, b in zip(gamma[:-1].tolist(), gamma[1:].tolist(), strict=True)
    ]
    assert shares == pytest.approx([0.2] * 5, abs=2e-3)
    assert (grid - UniformLogSNR()(schedule, 5)).abs().max() > 1e-3
    with pytest.raises(UserError, match="times=adaptive"):
        learned_density(DiffusionLoss().build(model), schedule)


def test_the_learned_grid_serves_where_the_model_is_clipped_or_guided(run: Path, tmp_path: Path) -> None:
    """What was learned is the loss's, whatever is made of the model."""
    arguments = ("--grid", "learned", "--steps", "3")
    plain = drawn(run, tmp_path / "plain.npz", *arguments, "--class", "3")
    same = drawn(run, tmp_path / "same.npz", *arguments, "--clip", "--guidance", "1", "--class", "3")
    assert np.array_equal(plain, same)


def test_the_default_is_the_models_own_sampling(run: Path, tmp_path: Path) -> None:
    """To the bit, and with the generator of `--seed`."""
    own = load(run).sample(3, steps=5, generator=torch.Generator().manual_seed(2))
    assert np.array_equal(drawn(run, tmp_path / "x.npz", "--steps", "5", "--seed", "2"), own.numpy())


def test_guidance_of_one_is_the_class_itself_and_clipping_keeps_a_posterior_head(run: Path, tmp_path: Path) -> None:
    plain = drawn(run, tmp_path / "plain.npz", "--steps", "4", "--class", "3")
    same = drawn(run, tmp_path / "same.npz", "--steps", "4", "--class", "3", "--guidance", "1", "--clip")
    assert np.array_equal(plain, same)
    assert drawn(run, tmp_path / "more.npz", "--steps", "4", "--class", "3", "--guidance", "4").shape == plain.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sampler", "huen"), "did you mean 'heun'"),
        (("--sampler", "euler"), "sampler"),
        (("--grid", "srn"), "did you mean 'snr'"),
        (("--steps", "0"), "--steps: expected a whole number from 1"),
        (("--sampler", "ode", "--steps", "10"), "leave out --steps"),
        (("--sampler", "ode", "--grid", "edm"), "leave out --steps"),
        (("--guidance", "2"), "--class"),
    ],
)
def test_plans_that_make_no_sense_are_explained(
    arguments: tuple[str, ...], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vlb("sample", run, "-o", tmp_path / "x.png", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error.replace("\n", " ") and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
