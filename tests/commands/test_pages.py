"""Pages that are followed with one's own file: every command of theirs, and their Python, as a person runs them."""

import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.test_tables import vlb as command
from tests.data.test_mixed import rows
from tests.test_docs import BLOCK, PYTHON, ROOT
from vlb.data import load


def followed(name: str, done: dict[str, bool], *brief: str) -> list[dict[str, Any]]:
    """Run a page's commands but those that are done, then its Python; brief: flags for training."""
    page = (ROOT / "docs" / name).read_text("utf-8")
    lines = [line.partition(" #")[0].strip() for block in BLOCK.findall(page) for line in block.splitlines()]
    assert lines and all(line.startswith("vlb ") for line in lines)
    for line in lines:
        if line not in done:
            words = shlex.split(line)[1:]
            done[line] = command(*words, *(brief if words[0] == "train" else ())) == 0
        assert done[line], line
    found = []
    for block in PYTHON.findall(page):
        names: dict[str, Any] = {}
        exec(compile(block, name, "exec"), names)
        found.append(names)
    return found


def test_pages_on_tables_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    lines = [["age", "income", "town", "since"], *rows(0, 200)]
    Path("people.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    done: dict[str, bool] = {}
    (imputed,) = followed("impute.md", done)
    assert len(imputed["means"]) == 5
    odd, limit, nats = followed("odd.md", done)
    assert len(odd["scores"]) == 200 and limit["limit"] > 0 and set(nats["nats"]) == {"age", "income", "town", "since"}
    (units,) = followed("units.md", done)
    assert np.allclose(units["metres"] - units["centimetres"], math.log(100), atol=1e-6)


@pytest.mark.slow
def test_the_page_on_pictures_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    x = load("digits").test.x[:3, 0]
    np.save("digits.npy", x)
    hole = np.zeros((8, 8), bool)
    hole[:, 4:] = True
    np.save("mask.npy", hole)
    (found,) = followed("inpaint.md", {}, "--set", "steps=1")
    assert found["result"].x.shape == (5, 3, 1, 8, 8)
    for number, drawn in enumerate(found["result"].x[:, :, 0], 1):
        assert np.array_equal(np.load(f"filled-{number}.npy"), drawn) and (drawn[:, ~hole] == x[:, ~hole]).all()
