"""Kinds of columns: inferred from cells, written for people to edit, read back; advice where none fits."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.base.errors import UserError
from vlb.core.schema import Categories, Levels, Real
from vlb.data import described as toml
from vlb.data.columns import Cells, Described, cells_of, described, infer, resolution
from vlb.data.dates import DAYS


def inferred(*texts: str) -> Described:
    return infer(cells_of("c", texts))[0]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(st.integers(-(10**5), 10**5), min_size=2, max_size=30, unique=True),
    st.sampled_from([1.0, 2.0, 5.0, 100.0, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001, 1e-6]),
)
def test_the_resolution_is_the_largest_step_of_which_all_are_multiples(steps: list[int], unit: float) -> None:
    """Whatever the step is: its multiple by the greatest common divisor of the whole numbers."""
    divisor = int(np.gcd.reduce(np.abs(steps)))
    found = resolution(np.array([round(step * unit, 8) for step in steps]))
    assert found == pytest.approx(unit * divisor, rel=1e-9)


def test_what_is_on_no_grid_has_no_resolution() -> None:
    values = np.random.default_rng(0).standard_normal(100)
    assert resolution(values) is None
    assert resolution(np.array([0.0, 1e-6, 1e6])) is None


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (("1", "2", "3", "1.0"), Categories(("1", "2", "3"), ordered=True)),
        (("red", "green", "?", "red"), Categories(("green", "red"))),
        (("yes", "no", "", "NA"), Categories(("no", "yes"))),
        (("7", "7", "-"), Categories(("7",))),
        (tuple(f"{i / 10}" for i in range(40)), Real(0.1)),
        (tuple(f"{i / 10}".replace(".", ",") for i in range(40)), Real(0.1)),
        (tuple(str(i * 50) for i in range(20)), Real(50.0)),
        (tuple(map(repr, np.random.default_rng(0).standard_normal(40).tolist())), Real()),
        (tuple(f"2020-01-{i:02d}" for i in range(1, 32)), Real(1.0, DAYS)),
    ],
)
def test_kinds_are_inferred(texts: tuple[str, ...], kind: Categories | Real) -> None:
    assert inferred(*texts).kind == kind


def test_a_spike_is_an_atom_and_a_mode_is_none() -> None:
    generator = np.random.default_rng(0)
    rain = np.where(generator.random(500) < 0.5, 0.0, np.round(generator.gamma(2.0, 5.0, 500), 1))
    column = inferred(*map(str, rain.tolist()))
    assert column.atoms == (0.0,) and column.kind == Real(0.1)
    which, value = column.columns
    assert which.kind == Categories(("0", "")) and which.atoms_of == value.name == "c"
    assert described(column.columns) == (column,)
    assert not inferred(*map(str, generator.poisson(8, 500).tolist())).atoms


def test_missing_cells_are_those_and_nothing_else() -> None:
    cells = cells_of("c", ["1.5", "NA", " nan ", "", "?", "-", "None", "NULL", "null", "-9", "2"], missing=["-9"])
    assert cells.observed.tolist() == [True] + 9 * [False] + [True]
    assert cells.numeric and cells.values[cells.observed].tolist() == [1.5, 2.0] and np.isfinite(cells.values).all()


@pytest.mark.parametrize(
    ("texts", "advice"),
    [
        (("", "NA"), "no cell"),
        (("1", "2", "inf"), "infinity in row 3"),
        (tuple(map(str, range(1, 101))), "identifier"),
        (tuple(f"user {i:04d}" for i in range(100)), "identifier or free text"),
        ((*(f"{i / 7}" for i in range(98)), "abc", "n.v."), "98 of 100 cells are numbers: 'abc' and the like are none"),
        (tuple(f"a long sentence of some {i % 40} words that goes on and on" for i in range(60)), "free text"),
    ],
)
def test_what_has_no_law_is_refused_with_advice(texts: tuple[str, ...], advice: str) -> None:
    with pytest.raises(UserError, match=rf"'c'.*{advice}"):
        inferred(*texts)


@pytest.mark.parametrize("values", [[0.5, 1.0, 1.5] * 20 + [2.25], range(100), [0] * 60 + [1], [*[0] * 90, *range(9)]])
def test_arrays_of_floats_have_densities(values: Sequence[float]) -> None:
    values = np.array(values, np.float64)
    column, _ = infer(Cells("c", values, np.ones(len(values), bool)), gridded=False)
    assert column.kind == Real()


text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
kinds = st.one_of(
    st.integers(2, 100).map(Levels),
    st.builds(Categories, st.lists(text, min_size=1, max_size=4, unique=True).map(tuple), st.booleans(), st.booleans()),
    st.builds(Real, st.none() | st.floats(1e-6, 1e6), text),
)


@st.composite
def columns(draw: st.DrawFn) -> tuple[Described, ...]:
    made = []
    for name in draw(st.lists(text.filter(bool), min_size=1, max_size=5, unique=True)):
        kind = draw(kinds)
        real = st.lists(st.floats(-1e9, 1e9), max_size=2, unique=True).map(tuple)
        atoms = draw(real) if isinstance(kind, Real) else ()
        made.append(Described(name, kind, tuple(draw(st.lists(text, max_size=2))), atoms))
    return tuple(made)


@settings(derandomize=True, deadline=None)
@given(columns())
def test_a_schema_survives_its_file_and_the_schema_of_a_run(made: tuple[Described, ...]) -> None:
    path = FILES / "schema.toml"
    path.write_text(toml.written(made), encoding="utf-8")
    assert toml.read(path) == made
    assert described([column for one in made for column in one.columns]) == made


@pytest.fixture(autouse=True)
def _files(tmp_path_factory: pytest.TempPathFactory) -> None:
    global FILES
    FILES = tmp_path_factory.mktemp("schemas")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("column = 3", "entries"),
        ("[[column]]\nname = 'a'", "column 1.*a name and a type"),
        ("[[column]]\nname = 'a'\ntype = 'reel'", "'a'.*did you mean 'real'|'a'.*real"),
        ("[[column]]\nname = 'a'\ntype = 'real'\nresolution = -1.0", "resolution"),
        ("[[column]]\nname = 'a'\ntype = 'real'\nlevels = 3", "'a'.*levels"),
        ("[[column", "no TOML"),
        ("other = 1", "entries"),
    ],
)
def test_a_wrong_schema_is_refused_with_the_place(content: str, message: str, tmp_path) -> None:
    path = tmp_path / "schema.toml"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        toml.read(path)


def test_a_short_column_of_reals_is_not_categories() -> None:
    texts = [f"{value:.3f}" for value in np.random.default_rng(1).standard_normal(12)]
    assert infer(cells_of("a", texts))[0].kind == Real(0.001)
    assert infer(cells_of("a", texts * 2))[0].kind == Categories(tuple(sorted(texts, key=float)), ordered=True)


def test_texts_among_numbers_and_single_categories_are_said() -> None:
    texts = [str(number) for number in range(40)] + ["n/k", "", "n/k", "n/k", "n/k"]
    word = infer(cells_of("age", texts), at=lambda row: f"line {row + 2}")[1].text
    assert "40 of 44 cells are numbers: 'n/k' and the like are none, in line 42, line 44, line 45, …" in word
    assert "list them under `missing`" in word
    word = infer(cells_of("kids", ["0", "1", "2", "3+"] * 9))[1].text
    assert word == "4 categories"
    word = infer(cells_of("colour", ["red", "green", "red", "green", "blue"]))[1].text
    assert word == "3 categories, 1 of them in one row alone ('blue')"
    with pytest.raises(UserError, match="holds 5 infinities in row 3, row 4, row 5, …"):
        infer(cells_of("a", ["1", "2", *["inf"] * 5]))
