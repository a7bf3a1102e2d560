"""Kill every verb that writes, at random moments (SIGKILL): is what it writes ever lost, half-written or another?

    python benchmarks/kill_verbs.py --kills 500 [--seed 0] [--seconds 3600] [--json FILE]

Small models of digits – a diffusion model with an MLP, one with a U-Net, a VAE, a mixture – on one thread and on two.
`train` is killed again and again, resumed, and in the end has to have the same tensors, state and metrics as the
training that nobody disturbed. Of the others what they write has to be whole or not there after the kill, the same
command has to succeed after it and write the same bytes (`evaluate --values` goes on: the same numbers), and nothing
unfinished may be left beside it.

A command is the command line's own, `vlb …`, in a process forked from one that has imported everything, so that the
moment of the kill, which is uniform over the time that the command takes, is one of its work. A process that was done
before is no kill, and not counted. The exit status is 1 if anything was lost.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # what a training has is set in its process

import numpy as np
import sklearn.datasets
import torch

import vlb.coding.api
import vlb.generate.sample
import vlb.measure.compare
import vlb.measure.evaluate
import vlb.measure.score
import vlb.pages.report
import vlb.training.verb
from vlb.base.files import is_part
from vlb.interfaces.cli import main as command
from vlb.measure import evaluation_file
from vlb.store import checkpoint
from vlb.store.runs import Run
from vlb.training.metrics import read_metrics

IMPORTED = sklearn.datasets, torch, vlb  # for the commands, which import them by themselves
BRIEF = (
    "batch=16",
    "validate_every=6",
    "validation_examples=32",
    "checkpoint_every=1",
    "log_every=1",
    "training.warmup=2",
)
MODELS = {
    "MLP": ("digits", ("steps=30", "backbone=mlp", "backbone.width=24", "backbone.blocks=1")),
    "U-Net": ("digits", ("steps=12", "backbone=unet", "backbone.widths=[8, 8]", "backbone.attention=[false, true]")),
    "VAE": ("digits-vae", ("steps=30", "model.latents=4", "coder.width=24")),
    "mixture": ("digits-mixture", ("steps=30", "model.components=4")),
}
THREADS = (1, 2)
FAST = ("--effort", "fast")
CHAIN = 6  # kills of one training before it is let to its end
LONGEST = 300  # seconds that a command may take
LOST = ("torn", "other", "failed", "litter")


@dataclass
class Tally:
    """What was found, by verb and model: kills, and what was found after them."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, what: str, outcome: str) -> None:
        """One more."""
        self.counts[what, outcome] += 1

    @property
    def kills(self) -> int:
        """All that were made."""
        return sum(count for (_, outcome), count in self.counts.items() if outcome == "kills")

    @property
    def lost(self) -> int:
        """Whatever should not be."""
        return sum(count for (_, outcome), count in self.counts.items() if outcome in LOST)


@dataclass(frozen=True)
class Verb:
    """A command that writes. words: of the command, for a run and a path; suffix: of the path, or the file of the run
    that it writes; same: whether two paths hold the same; whole: whether one is whole, be it finished or not, where the
    command goes on with what is there."""

    name: str
    words: Callable[[Path, Path], tuple[str | Path, ...]]
    suffix: str
    same: Callable[[Path, Path], bool]
    whole: Callable[[Path], bool] | None = None

    def target(self, run: Path) -> Path:
        """What it writes, beside a run or in it."""
        return run / self.suffix if self.suffix.startswith("report") else run.with_name(f"out{self.suffix}")


def begun(words: tuple[str | Path, ...], threads: int) -> ForkProcess:
    """`vlb WORDS` in a process of its own."""

    def work() -> None:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        torch.set_num_threads(threads)
        command([str(word) for word in words])

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def finished(words: tuple[str | Path, ...], threads: int) -> float | None:
    """Seconds that a command takes that nobody disturbs; None where it fails."""
    started = time.monotonic()
    process = begun(words, threads)
    process.join(LONGEST)
    if process.exitcode is None:
        process.kill()
        process.join()
    return time.monotonic() - started if process.exitcode == 0 else None


def killed(words: tuple[str | Path, ...], threads: int, moment: float) -> bool | None:
    """Whether a command was killed, `moment` seconds after it began; None where it had failed before."""
    process = begun(words, threads)
    process.join(moment)
    if process.exitcode is None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return True if process.exitcode == -signal.SIGKILL else False if process.exitcode == 0 else None


def trained(recipe: str, overrides: tuple[str, ...], out: Path) -> tuple[str | Path, ...]:
    """The command that trains, or goes on where something is there to go on with."""
    if (out / "config.json").is_file():
        return "train", recipe, "--out", out, "--resume"
    return "train", recipe, "--out", out, *(word for change in (*overrides, *BRIEF) for word in ("--set", change))


def same_runs(one: Path, other: Path) -> bool:
    """Whether two runs have the same tensors and state, last and best, and the same metrics but for time."""
    first, second = Run.open(one), Run.open(other)
    for a, b in ((first.last, second.last), (first.best, second.best)):
        left, right = checkpoint.read(a), checkpoint.read(b)
        if left.state != right.state or left.tensors.keys() != right.tensors.keys():
            return False
        if any(left.tensors[name].numpy().tobytes() != right.tensors[name].numpy().tobytes() for name in left.tensors):
            return False
    metrics = [[{**line, "seconds": 0} for line in read_metrics(run)] for run in (first, second)]
    return metrics[0] == metrics[1]


def litter(folder: Path) -> bool:
    """Whether something unfinished is left in a folder, or in a folder of it."""
    return any(is_part(path.name) for path in folder.rglob("*"))


def trainings(folder: Path, rng: random.Random, models: list[str], tally: Tally) -> Iterator[None]:
    """One training after the other, of all models in turn, each killed up to `CHAIN` times before its end."""
    undisturbed, seconds = dict[tuple[str, int], Path](), dict[tuple[str, int], float]()
    for number, (name, threads) in enumerate(cycle([(name, threads) for name in models for threads in THREADS])):
        recipe, overrides = MODELS[name]
        what, key = f"train, {name}, {threads} thread{'s' if threads > 1 else ''}", (name, threads)
        if key not in undisturbed:
            undisturbed[key] = folder / f"{name}{threads}"
            took = finished(trained(recipe, overrides, undisturbed[key]), threads)
            if took is None:
                raise SystemExit(f"{what}: cannot train")
            seconds[key] = took
        run = folder / f"killed{number}"
        for _ in range(CHAIN):
            ended = killed(trained(recipe, overrides, run), threads, rng.uniform(0, seconds[key]))
            if ended is None:
                tally.note(what, "failed")
            if not ended:
                break
            tally.note(what, "kills")
        failed = finished(trained(recipe, overrides, run), threads) is None
        outcome = "failed" if failed else "same" if same_runs(undisturbed[key], run) else "other"
        tally.note(what, outcome)
        if litter(run):
            tally.note(what, "litter")
        if outcome == "same":
            shutil.rmtree(run)
        yield


def same_bytes(one: Path, other: Path) -> bool:
    """Whether two files, or two folders of files, are the same."""
    if one.is_file():
        return other.is_file() and one.read_bytes() == other.read_bytes()
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*"))
    if names != sorted(str(path.relative_to(other)) for path in other.rglob("*")):
        return False
    return all(same_bytes(one / name, other / name) for name in names if (one / name).is_file())


def whole(path: Path) -> bool:
    """Whether a file holds an evaluation, finished or not."""
    evaluation_file.read(path)
    return True


def same_values(one: Path, other: Path) -> bool:
    """Whether two evaluations are of the same numbers."""
    a, b = evaluation_file.load(one), evaluation_file.load(other)
    return a.evaluation.values.tobytes() == b.evaluation.values.tobytes()


VALUES = ".npz", same_values, whole


def verbs(archive: Path, pictures: Path) -> list[Verb]:
    """All that write, but for `train`; archive: to be restored."""
    few = ("--passes", "2", "--examples", "100")
    many = ("--passes", "6", "--examples", "200")
    return [
        Verb("evaluate", lambda run, out: ("evaluate", run, *few, "--json", out), ".json", same_bytes),
        Verb(
            "evaluate --values", lambda run, out: ("evaluate", run, *many, "--values", out), ".npz", same_values, whole
        ),
        Verb("compare", lambda run, out: ("compare", run, "uniform", *few, "-o", out), ".html", same_bytes),
        Verb("score", lambda run, out: ("score", run, pictures, "-o", out), ".csv", same_bytes),
        Verb("sample", lambda run, out: ("sample", run, "-n", "16", "-o", out), ".png", same_bytes),
        Verb("report", lambda run, out: ("report", run), "report.html", same_bytes, Path.is_file),
        Verb("compress", lambda run, out: ("compress", run, pictures, "-o", out, *FAST), ".vlb", same_bytes),
        Verb("decompress", lambda run, out: ("decompress", archive, "-o", out, "--model", run), "", same_bytes),
    ]


def others(folder: Path, rng: random.Random, models: list[str], tally: Tally) -> Iterator[None]:
    """Every other verb, of every model in turn, once killed and then run again; the run is a copy each time, since
    verbs keep what they measured in it."""
    pictures = folder / "pictures.npy"
    np.save(pictures, sklearn.datasets.load_digits().images[:24, None].astype(np.uint8))
    offered = []
    for name in models:
        recipe, overrides = MODELS[name]
        run = folder / f"{name} run"
        archive = run.with_suffix(".vlb")
        for words in (trained(recipe, overrides, run), ("compress", run, pictures, "-o", archive, *FAST)):
            if finished(words, 1) is None:
                raise SystemExit(f"{' '.join(map(str, words))}: it fails")
        offered += [(name, run, verb, threads) for verb in verbs(archive, pictures) for threads in THREADS]
    rng.shuffle(offered)
    made = dict[int, tuple[Path, float]]()
    place = folder / "place"
    for number, (name, run, verb, threads) in cycle(list(enumerate(offered))):
        what = f"{verb.name}, {name}"
        if number not in made:
            copy = copied(run, place)
            took = finished(verb.words(copy, verb.target(copy)), threads)
            if took is None:
                raise SystemExit(f"{what}: it fails")
            made[number] = folder / f"whole{number}", took
            verb.target(copy).rename(made[number][0])
        expected, took = made[number]
        copy = copied(run, place)
        ended = killed(verb.words(copy, verb.target(copy)), threads, rng.uniform(0, took))
        if ended is None:
            tally.note(what, "failed")
        if ended:
            tally.note(what, "kills")
            tally.note(what, after(verb, copy, expected, threads))
            if litter(place):
                tally.note(what, "litter")
        yield


def copied(run: Path, place: Path) -> Path:
    """A copy of a run in a place of its own."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run, place / "run")
    return place / "run"


def after(verb: Verb, run: Path, expected: Path, threads: int) -> str:
    """What is found after a kill, and by the next command."""
    out = verb.target(run)
    found = out.exists()
    try:
        if found and not (verb.whole(out) if verb.whole else verb.same(out, expected)):
            return "torn"
    except Exception:
        return "torn"
    if found and not verb.whole:
        shutil.rmtree(out) if out.is_dir() else out.unlink()
    if finished(verb.words(run, out), threads) is None:
        return "failed"
    return ("whole" if found else "absent") if verb.same(out, expected) else "other"


def shown(tally: Tally) -> dict[str, Any]:
    """Print a table; the same as JSON values."""
    names = sorted({what for what, _ in tally.counts})
    columns = ("kills", "absent", "whole", "same", *LOST)
    print(f"{'':28}" + "".join(f"{column:>8}" for column in columns))
    rows = {what: {column: tally.counts[what, column] for column in columns} for what in names}
    rows["in all"] = {column: sum(row[column] for row in rows.values()) for column in columns}
    for what, row in rows.items():
        print(f"{what:28}" + "".join(f"{row[column]:>8}" for column in columns))
    return {"kills": tally.kills, "lost": tally.lost, "rows": rows}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Kill, print, and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="half of them of trainings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop after so many")
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    deadline, tally = time.monotonic() + options.seconds, Tally()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for killing, share in ((trainings, options.kills // 2), (others, options.kills)):
                place = Path(folder) / killing.__name__
                place.mkdir()
                until = deadline - (killing is trainings) * options.seconds / 2
                for _ in killing(place, random.Random(options.seed), options.models, tally):
                    if tally.kills >= share or time.monotonic() > until:
                        break
    finally:  # what was found before something failed, too
        found = {"seed": options.seed, **shown(tally)}
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    sys.exit(min(1, main()["lost"]))
