"""Tables of before each column had its own levels: their models stay what they were, to the last bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vlb.coding.carried import bare
from vlb.store.carried import carried, from_carried
from vlb.store.identity import identity
from vlb.store.runs import Run
from vlb.training.options import TrainOptions
from vlb.training.verb import train


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [f"{rng.integers(2)},{'abcdefg'[rng.integers(7)]},x" for _ in range(60)]
    (tmp_path / "t.csv").write_text("one,two,three\n" + "\n".join(rows) + "\n")
    return tmp_path / "t.csv"


def test_a_run_of_the_second_format_keeps_its_model_and_its_name(table: Path, tmp_path: Path) -> None:
    """Its columns share seven levels as when it was trained; the identity is of what was written."""
    short = TrainOptions(overrides=("steps=2", "model.components=2", "model.em_steps=3"))
    train("discrete-table", short, out=tmp_path / "run", data=table)
    file = tmp_path / "run" / "config.json"
    today = Run.open(tmp_path / "run")
    content = json.loads(file.read_text())
    assert content["format"] == 3
    file.write_text(json.dumps({**content, "format": 2}))
    old = Run.open(tmp_path / "run")
    assert old.trained.identity == today.trained.identity
    assert old.trained.identity == identity(content["model"], content["schema"], today.trained.tensors)
    assert [column.kind.count for column in old.schema.columns or ()] == [7, 7, 7]
    assert [column.kind.count for column in today.schema.columns or ()] == [2, 7, 1]
    x = torch.tensor([[1, 3, 0]])
    mass = torch.as_tensor(old.model().log_prob(x))  # the same tensors, normalised over all seven
    assert mass < today.model().log_prob(x) + 1e-6
    once = bare(from_carried(carried(old.trained), file))
    assert once.digest == old.trained.identity[:8] and len(once.columns or ()) == 3
    again = bare(from_carried(carried(today.trained), file))
    assert again.digest == once.digest and [c.kind.count for c in again.columns or ()] == [2, 7, 1]
