"""The course of training, read from files that may hold anything."""

import json
import shutil
from pathlib import Path

import pytest

from vlb.pages import figures
from vlb.pages.history import History, history
from vlb.store.runs import Run


def test_a_whole_run_tells_its_course(plain_run: Run) -> None:
    found = history(plain_run)
    assert [step for step, _ in found.train] == [2, 4, 6]
    assert [step for step, _ in found.validation] == [2, 4, 6]
    assert found.best and found.chosen == min(found.validation, key=lambda point: point[1])[0]
    assert (found.steps, found.skipped, found.refused) == (6, 0, ())


def test_what_is_no_number_is_passed_over(plain_run: Run, tmp_path: Path) -> None:
    shutil.copytree(plain_run.path, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    lines = [
        {"step": 1, "bits_per_dim": "<script>"},
        {"step": 2, "bits_per_dim": float("nan"), "skipped": 1, "note": "step 2: the loss is not finite"},
        {"step": 3, "bits_per_dim": True},
        {"step": 4, "validation": [1, 2]},
        {"step": 5, "validation": {"bits_per_dim": None}},
        {"step": 6, "bits_per_dim": 2.5, "skipped": 1},
    ]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + "not json\n[1]\n{}\n")
    found = history(run)
    assert found.train == ((6, 2.5),)
    assert found.validation == ()
    assert (found.skipped, found.refused) == (1, (2,))


@pytest.mark.parametrize("train", [(), ((1, 2.0),), ((1, 1e6), (50, 2.0), (100, 1.9))])
@pytest.mark.parametrize("validation", [(), ((100, 2.0),)])
def test_every_history_can_be_drawn(train: tuple, validation: tuple) -> None:
    found = History(train, validation, 100, 2, (3, 40), 100, True)
    svg = figures.losses(found, 2.4, "independent pixels")
    assert svg.startswith("<svg") and svg.endswith("</svg>")
