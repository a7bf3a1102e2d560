"""No checkpoint replaces a good one by a broken one, and a training that came to nothing says so."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import vlb
from tests.commands.test_cli import TINY
from tests.commands.test_cli import vlb as command
from tests.told import Told
from tests.train.test_loop import tiny
from vlb.base.configuration import override
from vlb.base.errors import UserError
from vlb.core.condition import Condition
from vlb.core.layouts import Vector
from vlb.core.schema import Column, Real, Schema
from vlb.data import Dataset, Split, load
from vlb.models.loss import Sums, Terms
from vlb.store import checkpoint
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.guard import PATIENCE
from vlb.training.loop import fit
from vlb.training.outcome import FAR, FAR_OF_COLUMNS, Bar, bars, doubt, fault
from vlb.training.recipes import recipe
from vlb.training.validation import error_rate


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


class Poisoned(Terms[nn.Module]):
    """A loss that is not a number at some steps, and one whose step makes weights infinite at others."""

    def __init__(self, loss: Terms[nn.Module], nan: frozenset[int], infinite: int | None) -> None:
        super().__init__()
        self.loss, self.nan, self.infinite = loss, nan, infinite

    def forward(
        self, model: nn.Module, x: torch.Tensor, condition: Condition, generator: torch.Generator, step: int
    ) -> tuple[dict[str, torch.Tensor], Sums]:
        terms, sums = self.loss(model, x, condition, generator, step)
        if step in self.nan:
            terms = {name: term * math.nan for name, term in terms.items()}
        if step == self.infinite:
            with torch.no_grad():
                next(model.parameters()).fill_(math.inf)
            terms = {name: term.nan_to_num(0.0) for name, term in terms.items()}
        return terms, sums


def poison(monkeypatch: pytest.MonkeyPatch, nan: frozenset[int], infinite: int | None = None) -> None:
    build = Experiment.build_loss
    monkeypatch.setattr(Experiment, "build_loss", lambda self, model: Poisoned(build(self, model), nan, infinite))


def steps_saved(run: Run) -> dict[str, int]:
    """What each checkpoint on disk is of, having looked that it is finite."""
    found = {}
    for path in (run.last, run.best):
        if path.is_file():
            read = checkpoint.read(path)
            assert read.finite
            found[path.stem] = read.state["step"]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_no_checkpoint_is_replaced_while_updates_are_refused(
    seed: int, tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any steps may be poisoned: what is on disk after each step is of an update that was made."""
    steps = 12
    nan = frozenset(random.Random(seed).sample(range(1, steps - 1), 5) + [steps - 1] * (seed % 2))
    poison(monkeypatch, nan)
    experiment = tiny("checkpoint_every=1", "validate_every=1")
    run = Run.create(tmp_path / "run", experiment, digits)

    def look(step: int) -> None:
        saved = steps_saved(run)
        assert not saved or (saved["last"] - 1 not in nan and saved["best"] - 1 not in nan)
        assert step == 0 or step - 1 in nan or saved["last"] == step

    if steps - 1 in nan:
        with pytest.raises(UserError, match="refused") as raised:
            fit(experiment, digits, run, progress=Told(look))
        assert str(run.best) in str(raised.value) and "learning_rate" in str(raised.value)
    else:
        assert fit(experiment, digits, run, progress=Told(look))
        assert steps_saved(run)["last"] == steps
    assert vlb.load(run.path) is not None


def test_a_checkpoint_that_was_due_is_made_up_for(
    tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, frozenset({5, 6}))
    experiment = tiny("checkpoint_every=6", "validate_every=0")
    run = Run.create(tmp_path / "run", experiment, digits)
    seen = {}
    assert fit(experiment, digits, run, progress=Told(lambda step: seen.update({step: steps_saved(run)})))
    assert seen[7] == {} and seen[8] == {"last": 8} and seen[12] == {"last": 12}


@pytest.mark.parametrize("validate", [0, 2])
def test_infinite_weights_are_never_saved(
    validate: int, tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, frozenset(), infinite=7)
    experiment = tiny("checkpoint_every=1", f"validate_every={validate}")
    run = Run.create(tmp_path / "run", experiment, digits)
    with pytest.raises(UserError, match=r"refused|not finite") as raised:
        fit(experiment, digits, run)
    assert steps_saved(run)["last"] == 7
    assert str(run.best if validate else run.last) in str(raised.value)


def test_a_stream_of_refused_updates_names_the_good_checkpoint(
    tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, frozenset(range(6, 100)))
    experiment = tiny("steps=60")
    run = Run.create(tmp_path / "run", experiment, digits)
    with pytest.raises(UserError, match=f"last {PATIENCE} updates were refused") as raised:
        fit(experiment, digits, run)
    assert f"{run.best} is good: step 4" in str(raised.value)
    assert steps_saved(run) == {"last": 6, "best": 4}


def test_a_bound_far_above_uniform_ends_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a person sees it, and again where the finished run is resumed."""
    path = tmp_path / "run"
    settings = (*TINY, "--set", "learning_rate=30", "--set", "warmup=1", "--set", "steps=30", "--set", "clip=100")
    assert command("train", "digits", "--out", path, *settings) == 2
    said = capsys.readouterr().err
    assert "far above 4.087" in said and "learning_rate" in said and "Traceback" not in said
    assert command("train", "digits", "--out", path, "--resume") == 2


@given(st.floats(), st.floats(1e-3, 16))
def test_only_finite_bounds_near_uniform_or_below_are_no_fault(merit: float, uniform: float) -> None:
    fine = math.isfinite(merit) and merit <= FAR * uniform
    held = {"bits_per_dim": Bar(FAR * uniform, uniform, "any value as likely")}
    assert (fault({"bits_per_dim": merit, "prior": math.nan}, held) is None) == fine
    assert (fault({"error_rate": merit}, held) is None) == math.isfinite(merit)
    if fine:
        assert (doubt({"bits_per_dim": merit}, held) is None) == (merit < uniform)


def test_a_classifier_at_chance_says_so(tmp_path: Path, digits: Dataset) -> None:
    """A ladder network whose weights ran away names one class: its errors are finite, and no success."""
    experiment, said = recipe("digits-ladder"), list[str]()
    for assignment in ("steps=12", "learning_rate=30", "warmup=1", "validate_every=4"):
        experiment = override(experiment, assignment)

    class Listening(Told):
        def say(self, line: str) -> None:
            said.append(line)

    assert fit(experiment, digits, Run.create(tmp_path / "run", experiment, digits), progress=Listening(print))
    assert any("always naming the commonest class gives" in line for line in said)
    labels = digits.validation.labels
    assert labels is not None
    share = max((labels == label).mean() for label in range(10))
    assert bars(digits)["error_rate"].given == pytest.approx(1 - share)


def test_real_columns_are_held_against_each_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever their unit: a density's bits have no zero, but differences of them do not depend on it."""
    table = "".join(f"{math.sin(7 * i):.9g},{'red' if i % 3 else 'blue'}\n" for i in range(90))
    (tmp_path / "t.csv").write_text("a,b\n" + table)
    settings = [part for one in ("steps=30", "batch=8", "learning_rate=100", "clip=1e6") for part in ("--set", one)]
    assert command("train", "table-vae", "--data", tmp_path / "t.csv", "--out", tmp_path / "run", *settings) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert ("each of the columns by itself" in said or "no finite number" in said) and "Traceback" not in said
    schema = Schema(layout=Vector((2,)), kinds=(Column("a", Real()), Column("b", Real())))
    x, far = np.random.default_rng(0).normal(size=(60, 2)), {}
    for unit in (1.0, 1000.0):
        far[unit] = bars(Dataset("x", schema, *(Split(unit * part) for part in np.split(x, (20, 40)))))
        held = far[unit]["bits_per_dim"]
        assert math.isclose(held.most - held.given, FAR_OF_COLUMNS)
        assert fault({"bits_per_dim": held.most}, far[unit]) is None
        assert "column" in (fault({"bits_per_dim": math.nextafter(held.most, math.inf)}, far[unit]) or "")
    alone = {unit: held["bits_per_dim"].given for unit, held in far.items()}
    assert math.isclose(alone[1000.0] - alone[1.0], math.log2(1000.0), abs_tol=1e-9)


class Nowhere:
    """A classifier that gives NaN."""

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 10), math.nan)


def test_a_classifier_that_gives_no_number_has_no_error_rate(digits: Dataset) -> None:
    assert math.isnan(error_rate(Nowhere(), digits.validation, 10, torch.device("cpu"))["error_rate"])


def test_metrics_say_what_validation_gave(tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is not finite is written down, and keeps nothing."""
    poison(monkeypatch, frozenset(), infinite=2)
    experiment = tiny("steps=4", "validate_every=4", "checkpoint_every=100")
    run = Run.create(tmp_path / "run", experiment, digits)
    with pytest.raises(UserError, match="No good checkpoint"):
        fit(experiment, digits, run)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert not math.isfinite(next(line["validation"]["bits_per_dim"] for line in lines if "validation" in line))
    assert steps_saved(run) == {}
