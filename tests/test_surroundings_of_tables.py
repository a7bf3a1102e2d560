"""What is done with tables neither reads nor leaves behind what is the process's: the verbs and the estimators give the
numbers of a fresh process under the states that `test_surroundings` lists."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlb
from tests.test_surroundings import STATES, of_the_process, plain
from vlb.coding.options import CompressOptions
from vlb.generate.options import ImputeOptions, SampleOptions
from vlb.measure.options import EvaluateOptions, ScoreOptions
from vlb.store import checkpoint
from vlb.training.options import TrainOptions

SMALL = ("training.steps=3", "validate_every=2", "batch=8", "width=8", "blocks=1")
KINDS = {
    "table": ("draws=2", "most_components=2", "most_rank=2"),
    "table-vae": (*SMALL, "latents=2"),
    "table-diffusion": SMALL,
}
# As many at once as do not undo each other.
TOGETHER = (
    ("float64", "autocast", "set_grad_enabled", "numpy raises"),
    ("bfloat16", "inference_mode", "default device"),
)


def csv(path: Path) -> Path:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(60):
        cells = [
            f"{generator.normal():.3f}",
            f"{10 * generator.normal():.6g}",
            "red" if generator.random() < 0.4 else "b",
        ]
        rows.append(",".join("" if number % 4 and generator.random() < 0.2 else cell for cell in cells))
    path.write_text("x,y,colour\n" + "\n".join(rows) + "\n")
    return path


def trained(kind: str, table: Path, out: Path) -> Any:
    made = vlb.train(kind, TrainOptions(overrides=KINDS[kind]), out=out, data=table).run
    stored = checkpoint.read(made.chosen)
    return {name: (str(x.dtype), x.double().sum().item()) for name, x in stored.tensors.items()}


def done(kind: str, run: Path, table: Path, folder: Path) -> dict[str, Callable[[], Any]]:
    """All verbs that a run of a kind has."""

    def archive() -> bytes:
        how = CompressOptions(effort="fast", embed_model=True)
        vlb.compress(run, [table], folder / "x.vlb", how)
        vlb.decompress(folder / "x.vlb", folder / "back")
        assert (folder / "back" / table.name).read_bytes() == table.read_bytes()
        return (folder / "x.vlb").read_bytes()

    gappy = folder / "gappy.csv"
    gappy.write_text("\n".join(table.read_text().split("\n")[:8]) + "\n")
    verbs: dict[str, Callable[[], Any]] = {
        "train": lambda: trained(kind, table, folder / "run"),
        "evaluate": lambda: vlb.evaluate(run, options=EvaluateOptions(passes=2, examples=4), keep=False).values(),
        "score": lambda: {
            name: values.tolist() for name, values in vlb.score(run, gappy, ScoreOptions(passes=2)).columns.items()
        },
        "sample": lambda: vlb.sample(
            run, SampleOptions(n=3, steps=3 if kind == "table-diffusion" else None)
        ).x.tolist(),
        "impute": lambda: [str(filled) for filled in vlb.impute(run, gappy, ImputeOptions()).tables],
    }
    return verbs | ({"compress": archive} if kind == "table" else {})


@pytest.mark.parametrize("kind", ["table", "table-vae", pytest.param("table-diffusion", marks=pytest.mark.slow)])
def test_numbers_of_tables_are_those_of_a_fresh_process(kind: str, tmp_path: Path) -> None:
    table, run = csv(tmp_path / "t.csv"), tmp_path / "kept"
    trained(kind, table, run)
    (tmp_path / "first").mkdir()
    expected = {name: plain(verb()) for name, verb in done(kind, run, table, tmp_path / "first").items()}
    for number, states in enumerate(TOGETHER):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, verb in done(kind, run, table, folder).items():
            with ExitStack() as around:
                for state in states:
                    around.enter_context(STATES[state]())
                before = of_the_process()
                found = verb()
                assert of_the_process() == before, f"{name} left something behind under {states}"
            assert plain(found) == expected[name], f"{name} is another under {states}"
