"""Factor mixtures as runs: what a user has who trains the recipe `table` on a file."""

from pathlib import Path

import numpy as np
import pytest
import torch

import vlb
from tests.models.test_factor import MIXED, fitted, table
from vlb.base.errors import UserError
from vlb.models.factor.config import FactorAnalysers


def written(path: Path, n: int = 60, scale: float = 1.0, seed: int = 0) -> Path:
    """A mixed table with gaps: a real, a rounded, a category."""
    generator = np.random.default_rng(seed)
    z = generator.normal(size=n)
    rows = ["income,age,colour"]
    for value, other, gap in zip(z, generator.normal(size=n), generator.random((n, 3)) < 0.15, strict=True):
        cells = (repr(float(scale * np.exp(value + 0.2 * other))), f"{40 + 9 * value:.0f}", "rb"[int(value > other)])
        rows.append(",".join("" if missing else cell for cell, missing in zip(cells, gap, strict=True)))
    path.write_text("\n".join(rows) + "\n")
    return path


def trained(file: Path, run: Path) -> Path:
    vlb.train("table", vlb.TrainOptions(overrides=("model.draws=2", "model.steps=10")), data=file, out=run)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("factor")
    return trained(written(folder / "table.csv"), folder / "run")


def test_a_run_gives_the_model_back(run: Path) -> None:
    model, again = vlb.load(run), vlb.load(run)
    data = vlb.Run.open(run).data()
    x, condition = data.test.batch(np.arange(len(data.test)), False, "cpu")
    assert torch.equal(model.log_prob(x, condition), again.log_prob(x, condition))
    assert len(model.components.means) > 1 and model.components.rank >= 1
    before = vlb.Run.open(run).fingerprint
    result = vlb.train("table", out=run, resume=True)
    assert result.run.fingerprint == before
    assert torch.equal(vlb.load(run).log_prob(x, condition), model.log_prob(x, condition))


def test_room_is_made_for_weights_that_agree_and_for_no_others() -> None:
    model = fitted(MIXED, *table(40), components=3, rank=2, draws=2, steps=3)
    other = FactorAnalysers().build(MIXED)
    other.resize(model.state_dict())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.log_prob(table(40)[0]), model.log_prob(table(40)[0]))
    for name, shape in (("loadings", (1 << 40, 0, 1)), ("means", (5, 2)), ("log_tables", (6,))):
        plain = FactorAnalysers().build(MIXED)
        plain.resize(
            {**model.state_dict(), name: torch.zeros(1).expand(shape) if 0 not in shape else torch.empty(shape)}
        )
        assert len(plain.components.means) == 1


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_however_small_or_large_come_back(tmp_path: Path, scale: float) -> None:
    place = trained(written(tmp_path / "table.csv", scale=scale), tmp_path / "run")
    assert vlb.evaluate(place).examples == 6
    assert np.isfinite(vlb.score(place, "test").columns["nats"]).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tables_of_a_few_rows_train_or_say_why_not(tmp_path: Path, n: int) -> None:
    file = written(tmp_path / "table.csv", n)
    try:
        place = trained(file, tmp_path / "run")
    except UserError as error:
        assert "rows" in str(error) or "row" in str(error)
        return
    assert vlb.sample(place, vlb.SampleOptions(n=3)).x.shape[0] == 3


def test_every_verb_works_or_says_why_not(run: Path, tmp_path: Path) -> None:
    page = vlb.report(run).path.read_text()
    for heading in ("Every column by itself", "Columns together", "The rows least likely", "Lebesgue, per unit"):
        assert heading in page
    assert vlb.compare([run, "independent-pixels"]).first.subject.measure.startswith("Lebesgue")
    with pytest.raises(UserError, match="exact"):
        vlb.tightness(run)
    vlb.compress(run, [run.parent / "table.csv"], tmp_path / "table.vlb")
    vlb.decompress(tmp_path / "table.vlb", tmp_path / "back", run=run)
    assert (tmp_path / "back/table.csv").read_bytes() == (run.parent / "table.csv").read_bytes()
    scores = vlb.score(run, "test", vlb.ScoreOptions(typicality=True, background="independent-pixels"))
    assert all(np.isfinite(values).all() for values in scores.columns.values())


def test_tables_of_other_measures_are_not_compared(run: Path, tmp_path: Path) -> None:
    schema = (run / "schema.toml").read_text()
    other = tmp_path / "schema.toml"
    other.write_text(schema.replace("resolution = 1.0\n", ""))
    assert other.read_text() != schema
    options = vlb.TrainOptions(overrides=("model.draws=1", "model.steps=3"), schema=other)
    vlb.train("table", options, data=run.parent / "table.csv", out=tmp_path / "run")
    with pytest.raises(UserError, match=r"Lebesgue, per unit × counting, the other.*interval of 1"):
        vlb.compare([run, tmp_path / "run"])
    kept = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for place, file in zip((run, tmp_path / "run"), kept, strict=True):
        vlb.evaluate(place, values=file)
    with pytest.raises(UserError, match=r"the other against Lebesgue, per unit × counting: .*units"):
        vlb.compare(kept)


class Stretches:
    """A progress that keeps how much of each stretch was done."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}

    def begin(self, what: str, total: int | None = None) -> None:
        self.now = what
        self.done[what] = 0

    def at(self, done: int, *, total: int | None = None, detail: str = "") -> None:
        self.done[self.now] = done

    def say(self, line: str) -> None: ...


def test_training_tells_of_the_fit(tmp_path: Path) -> None:
    told, options = Stretches(), vlb.TrainOptions(overrides=("model.draws=2", "model.steps=10"))
    vlb.train("table", options, data=written(tmp_path / "table.csv"), out=tmp_path / "run", progress=told)
    stretches = ("choosing the rank", "choosing the number of components", "EM on all rows", "drawing parameters")
    assert all(told.done[name] > 0 for name in stretches)
