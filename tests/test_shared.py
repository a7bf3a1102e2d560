"""Several processes share out evaluation, scores and samples, and find what one alone does."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import vlb
from tests.together import together
from vlb.core.condition import Condition
from vlb.core.ranks import ALONE, Lost, Ranks
from vlb.core.terms import BoundKind, TermPath
from vlb.data import Split
from vlb.measure.evaluation import Keep, Tally, measure_bound
from vlb.measure.evaluation_file import load, read
from vlb.measure.options import EvaluateOptions, ScoreOptions
from vlb.measure.score import score

MODULE = "tests.test_shared"
QUICK = ("steps=2", "batch=16", "backbone=mlp", "backbone.width=24", "backbone.blocks=1")


@given(st.integers(0, 20), st.integers(1, 6), st.integers(0, 20))
def test_tasks_in_turn_are_all_done_once(count: int, size: int, ask: int) -> None:
    """Processes one after another, each told what it would gather. More tasks than are asked for are never
    more than a turn ahead."""
    tasks, done = list(range(count)), [[] for _ in range(size)]  # type: ignore[var-annotated]

    class Simulated(Ranks):
        def _gathered(self, own: Any) -> list[Any]:
            turn = next(self.turns)  # type: ignore[attr-defined]
            assert own == (turn[self.rank] ** 2 if self.rank < len(turn) else None)
            return [n**2 for n in turn] + [None] * (self.size - len(turn))

    for rank in range(size):
        own = Simulated(rank, size)
        object.__setattr__(own, "turns", iter([tasks[at : at + size] for at in range(0, count, size)]))

        def work(n: int, rank: int = rank) -> int:
            done[rank].append(n)
            return n**2

        found = list(itertools.islice(own.map(work, tasks), ask))
        assert found == [n**2 for n in tasks[:ask]]
    every = sorted(n for each in done for n in each)
    assert every == tasks[: len(every)] and min(ask, count) <= len(every) < ask + size


class Noisy:
    """A bound that is drawn, of any examples."""

    shape, bound = (2,), BoundKind("noise of")

    def terms(self, x: Tensor, condition: Condition, generator: torch.Generator) -> dict[TermPath, Tensor]:
        noise = torch.randn(len(x), generator=generator, dtype=torch.float64)
        return {("a",): 5 + x.double().sum(1), ("b",): noise}


class Kept(Keep):
    """What was seen of a tally after so many batches."""

    def __init__(self, tally: Tally | None = None) -> None:
        super().__init__(tally)
        self.seen = 0

    def watch(self, tally: Tally) -> None:
        self.seen = len(tally.batch_means)
        self.tally = tally


def split_of(count: int) -> Split:
    return Split(np.arange(2 * count).reshape(count, 2).astype(np.uint8))


class Stops(Exception):
    """Ends an evaluation."""


def measured(ranks: Ranks = ALONE) -> dict[str, Any]:
    """Bounds of numbers of examples that fill batches and turns or do not, by a number of passes or to a precision,
    and gone on with from the middle of a pass."""
    found: dict[str, Any] = {}
    for count, batch, precision in itertools.product((1, 3, 7, 12), (3, 4), (None, 0.2)):
        keep = Kept()
        got = measure_bound(
            Noisy(), split_of(count), passes=3, batch=batch, precision=precision, budget=40, keep=keep, ranks=ranks
        )
        found[f"{count} {batch} {precision}"] = [*got.totals.tolist(), *got.batch_means.ravel().tolist(), keep.seen]

    class Stopping(Kept):
        def watch(self, tally: Tally) -> None:
            super().watch(tally)
            if self.seen == 4:
                raise Stops

    stopping = Stopping()
    try:
        measure_bound(Noisy(), split_of(7), passes=3, batch=3, ranks=ranks, keep=stopping)
    except Stops:
        again = measure_bound(Noisy(), split_of(7), passes=3, batch=3, ranks=ranks, keep=Kept(stopping.tally))
        found["gone on with"] = again.totals.tolist()
    return found


RUNS: dict[str, EvaluateOptions] = {
    "planned": EvaluateOptions(examples=300, passes=2),
    "weighed": EvaluateOptions(examples=6, passes=3, likelihood="importance", steps=2, draws=2),
    "ode": EvaluateOptions(examples=3, passes=3, likelihood="ode", steps=2, divergence="hutchinson"),
}


def of_a_run(ranks: Ranks, run: Path, folder: Path) -> dict[str, Any]:
    """What verbs find of a run."""
    found: dict[str, Any] = {}
    for name, options in RUNS.items():
        got = vlb.evaluate(run, options=options, values=folder / f"{name}.npz", ranks=ranks)
        found[name] = {k: v for k, v in got.values().items() if k != "values"}
    samples = vlb.sample(run, vlb.SampleOptions(n=261, steps=2), ranks=ranks)
    found["samples"] = torch.from_numpy(samples.x)
    found["scores"] = torch.from_numpy(score(run, "test", ScoreOptions(passes=2), ranks=ranks).columns["nats"])
    return found


def find_all(ranks: Ranks, run: str, folder: str) -> dict[str, Any]:
    """All of it, and what is said of what goes wrong."""
    found: dict[str, Any] = {"measured": measured(ranks), "run": of_a_run(ranks, Path(run), Path(folder))}

    def refusing(number: int) -> int:
        if number == 3:
            raise vlb.UserError("three")
        return number

    got = []
    try:
        for number in ranks.map(refusing, itertools.count()):
            got.append(number)
    except vlb.UserError as error:
        found["refused"] = [*got, str(error)]
    found["once"] = ranks.once(lambda: ranks.rank)
    ranks.refuse_different(lambda: "same")
    try:
        ranks.refuse_different(lambda: ranks.rank)
    except vlb.UserError as error:
        found["different"] = str(error)
    if ranks.rank == 0:
        try:
            list(ranks.map(refusing, range(2)))
        except Lost as error:
            found["lost"] = str(error)
    return found


def test_processes_find_what_one_does(tmp_path: Path) -> None:
    """Also those of which there is no task for all, and what was kept."""
    run = tmp_path / "run"
    vlb.train("digits", vlb.TrainOptions(overrides=QUICK), out=run)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    found = together(tmp_path, MODULE, "find_all", run, tmp_path / "two")
    assert "is gone" in found[0].pop("lost")
    one = {"measured": measured(), "run": of_a_run(ALONE, run, tmp_path / "one")}
    for each in found:
        assert each["refused"] == [0, 1, 2, "three"] and each["once"] == 0
        assert "do not find the same run" in each["different"]
        assert each["measured"] == one["measured"]
        for name in ("samples", "scores"):
            torch.testing.assert_close(each["run"][name], one["run"][name])
        for name in RUNS:
            assert each["run"][name] == one["run"][name]
    for name in RUNS:
        own, others = (load(tmp_path / folder / f"{name}.npz") for folder in ("one", "two"))
        np.testing.assert_allclose(own.evaluation.values, others.evaluation.values, rtol=1e-6)
        assert own.evaluation.sums.keys() == others.evaluation.sums.keys()


def started(*arguments: object, processes: int = 2) -> subprocess.Popen[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    line = [sys.executable, *launch, "-m", "vlb", *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_commands_print_and_write_once(tmp_path: Path, processes: int) -> None:
    """As one process does: 7 examples and 300 samples, of which no number of processes here is a divisor."""
    lines = {
        "evaluate": ("vlb:digits", "--examples", "7", "--passes", "2", "--json"),
        "sample": ("vlb:digits", "-n", "300", "--steps", "2", "-o"),
        "score": ("vlb:digits", "test", "--passes", "2", "-o"),
    }
    one, many = (tmp_path / folder for folder in ("one", "many"))
    one.mkdir()
    many.mkdir()
    for verb, line in lines.items():
        name = f"{verb}.json" if verb == "evaluate" else f"{verb}.npz"
        alone = subprocess.run([sys.executable, "-m", "vlb", verb, *line, one / name], capture_output=True, text=True)
        assert alone.returncode == 0
        process = started(verb, *line, many / name, processes=processes)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert out == alone.stdout.replace("/one/", "/many/")
    for name in ("sample.npz", "score.npz"):
        found, others = np.load(one / name), np.load(many / name)
        for key in set(found) - {"about"}:
            np.testing.assert_allclose(found[key], others[key], rtol=1e-6)


@pytest.mark.slow
def test_a_process_that_is_lost_ends_a_command(tmp_path: Path) -> None:
    """With a message, and with nothing half-written; what was evaluated is kept, and the same command goes on."""
    values, out = tmp_path / "values.npz", tmp_path / "found.json"
    line = ("evaluate", "vlb:digits", "--passes", "400", "--values", values, "--json", out)
    process = started(*line)
    deadline = time.monotonic() + 120
    while not values.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0 and ("is gone" in err or "SIGTERM" in err)
    assert sorted(tmp_path.iterdir()) == [values]
    assert read(values).tally.batch_means
