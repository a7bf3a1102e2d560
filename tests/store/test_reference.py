"""A run whose data are gone answers all the same, and says what stands in for them."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import vlb
from vlb.base.configuration import override
from vlb.base.errors import UserError
from vlb.core.layouts import Vector
from vlb.core.marginals import log_marginals
from vlb.core.schema import Column, Levels, Real, Schema
from vlb.data import Dataset, Split, load
from vlb.measure.options import EvaluateOptions, ScoreOptions
from vlb.store import checkpoint, reference
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe

SETTINGS = {
    "diffusion": ("digits", "backbone=mlp", "backbone.width=16", "blocks=1", "training.warmup=1"),
    "labels": (
        "digits",
        "backbone=mlp",
        "backbone.width=16",
        "blocks=1",
        "training.warmup=1",
        "condition=labels",
    ),
    "vae": ("digits-vae", "coder.width=16", "training.warmup=1"),
    "mixture": ("digits-mixture", "components=3", "em_steps=2", "training.warmup=1"),
}


@pytest.fixture(scope="module", params=SETTINGS)
def orphan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run of a person's own data, which are then deleted, and other examples."""
    folder = tmp_path_factory.mktemp(request.param)
    digits = load("digits")
    np.savez(folder / "own.npz", x=digits.train.x[:200], labels=digits.train.labels[:200], levels=17)
    np.savez(folder / "other.npz", x=digits.test.x[:30], labels=digits.test.labels[:30], levels=17)
    name, *more = SETTINGS[request.param]
    experiment = recipe(name)
    for assignment in ("steps=3", "batch=16", "validate_every=3", 'data={"name": "images"}', *more):
        experiment = override(experiment, assignment)
    experiment = override(experiment, f"data.path={folder / 'own.npz'}")
    data = load("images", folder / "own.npz")
    run = Run.create(folder / "run", experiment, data)
    assert fit(experiment, data, run)
    (folder / "own.npz").unlink()
    return run, folder / "other.npz"


def test_every_verb_that_needs_no_split_works(orphan: tuple[Run, Path], tmp_path: Path) -> None:
    run, other = orphan
    assert vlb.load(run.path).sample(2, steps=2).shape == (2, 1, 8, 8)
    assert len(vlb.sample(run).x) == 64
    result = vlb.evaluate(run, other, EvaluateOptions(passes=2))
    assert result.examples == 30 and np.isfinite(result.bits_per_dim)
    assert result.baselines["independent_pixels"] < np.log2(17)
    scored = vlb.score(run, other, ScoreOptions(passes=2, draws=2))
    assert len(scored.columns["nats"]) == 30
    vlb.compress(run, [other], tmp_path / "x.vlb")
    vlb.decompress(tmp_path / "x.vlb", tmp_path / "out", run=run.path)
    assert np.array_equal(np.load(tmp_path / "out/other.npz")["x"], np.load(other)["x"])
    page = vlb.report(Run.open(shutil.copytree(run.path, tmp_path / "run")))
    assert "the data are gone" in page.path.read_text()


def test_the_run_s_own_split_is_refused(orphan: tuple[Run, Path]) -> None:
    run, _ = orphan
    with pytest.raises(UserError, match="no longer at"):
        vlb.evaluate(run)
    instead = run.reference(run.model())
    assert "the marginals that the run kept" in instead.why
    with pytest.raises(UserError, match="no longer at"):
        instead.split("test")


def test_the_marginals_that_are_kept_are_those_of_the_training_examples(tmp_path: Path) -> None:
    digits = load("digits")
    run = Run.create(tmp_path / "run", recipe("digits-vae"), digits)
    kept = checkpoint.read(run.kept).tensors["log_marginals"].numpy()
    assert np.array_equal(kept, log_marginals(digits.train.x, 17))


def test_data_without_levels_leave_nothing_to_keep(tmp_path: Path) -> None:
    schema = Schema(layout=Vector((2,)), kinds=(Column("a", Real()), Column("b", Levels(3))))
    split = Split(np.zeros((4, 2)))
    reference.keep(tmp_path / "kept.safetensors", Dataset("mixed", schema, split, split, split))
    assert checkpoint.read(tmp_path / "kept.safetensors").tensors == {}
