"""Tables of discrete columns under a factor mixture: files come back to the byte, at the model's own rate."""

import math
from pathlib import Path

import numpy as np
import pytest

import vlb
from vlb.base.errors import UserError


def written(path: Path, n: int, gaps: float, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 4, n)
    second = (first + (generator.random(n) < 0.2)) % 3
    rows = ["a,b,always,c"]
    for values, missing in zip(
        zip(first, second, first // 2, strict=True), generator.random((n, 3)) < gaps, strict=True
    ):
        a, b, c = ("" if gap else "wxyz"[value] for value, gap in zip(values, missing, strict=True))
        rows.append(f"{a},{b},one,{c}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("gaps", [0.0, 0.1])
def test_a_table_comes_back_to_the_byte_at_the_rate_of_its_bound(tmp_path: Path, gaps: float) -> None:
    file = written(tmp_path / "table.csv", 600, gaps)
    run = tmp_path / "run"
    options = vlb.TrainOptions(overrides=("model.draws=2", "model.steps=20"))
    vlb.train("table", options, data=file, out=run)
    more = written(tmp_path / "more.csv", 500, gaps, seed=1)
    vlb.compress(run, [more], tmp_path / "more.vlb")
    vlb.decompress(tmp_path / "more.vlb", tmp_path / "back", run=run)
    assert (tmp_path / "back" / "more.csv").read_bytes() == more.read_bytes()
    if not gaps:
        nats = vlb.score(run, more).columns["nats"].sum()
        assert (tmp_path / "more.vlb").stat().st_size < nats / math.log(2) / 8 * 1.02 + 400


def test_real_columns_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    values = np.random.default_rng(0).normal(size=40)
    file.write_text("height,own\n" + "".join(f"{value!r},{'yn'[value > 0]}\n" for value in values.tolist()))
    vlb.train("table", vlb.TrainOptions(overrides=("model.draws=1",)), data=file, out=tmp_path / "run")
    with pytest.raises(UserError, match=r"'height' is real.*discrete-table"):
        vlb.compress(tmp_path / "run", [file], tmp_path / "x.vlb")


def test_levels_and_values_that_are_not_listed_come_back(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    numbers = np.random.default_rng(0).integers(0, 4, 200)
    file.write_text("a,b,always,c\n" + "".join(f"{n},{(n + 1) % 3},one,{n // 2}\n" for n in numbers))
    schema = tmp_path / "schema.toml"
    schema.write_text(
        '[[column]]\nname = "a"\ntype = "levels"\ncount = 4\n'
        '[[column]]\nname = "b"\ntype = "categories"\nvalues = ["0", "1"]\nother = true\n'
        '[[column]]\nname = "always"\ntype = "categories"\nvalues = ["one"]\n'
        '[[column]]\nname = "c"\ntype = "levels"\ncount = 2\n'
    )
    options = vlb.TrainOptions(overrides=("model.draws=1", "model.steps=5"), schema=schema)
    vlb.train("table", options, data=file, out=tmp_path / "run")
    vlb.compress(tmp_path / "run", [file], tmp_path / "x.vlb")
    vlb.decompress(tmp_path / "x.vlb", tmp_path / "back", run=tmp_path / "run")
    assert (tmp_path / "back" / "table.csv").read_bytes() == file.read_bytes()
