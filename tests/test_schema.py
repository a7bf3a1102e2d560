"""A schema says what an example is, survives JSON, and refuses what does not fit; a toy mixed table tries all kinds."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.base.configuration import decode, encode
from vlb.base.errors import UserError
from vlb.core.layouts import Image, Layout, Points, Vector, Volume, Wave
from vlb.core.schema import Categories, Column, Levels, Pieces, Real, Schema, levels_schema
from vlb.data import Split

MIXED = Schema(
    layout=Vector((4,)),
    kinds=(
        Column("height", Real(resolution=0.5, unit="cm")),
        Column("weight", Real(unit="kg")),
        Column("colour", Categories(("red", "green"), other=True)),
        Column("rooms", Levels(9)),
    ),
)

texts = st.text(max_size=5)
kinds = st.one_of(
    st.integers(2, 1 << 16).map(Levels),
    st.builds(Categories, st.lists(texts, min_size=1, max_size=5, unique=True).map(tuple), st.booleans()),
    st.builds(Real, st.none() | st.floats(1e-6, 1e6), texts),
)


@st.composite
def pieces(draw: st.DrawFn, window: tuple[int, ...]) -> Pieces | None:
    """None, or pieces of a window (or none where it has no axes)."""
    if not window or draw(st.booleans()):
        return None
    phases = 2 ** draw(st.integers(0, len(window)))
    margin = draw(st.integers(0, (min(window) - 1) // 2)) if phases > 1 else 0
    return Pieces(tuple(size - 2 * margin for size in window), margin, phases, margin > 0 or draw(st.booleans()))


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    if draw(st.booleans()):
        names = draw(st.lists(texts, min_size=1, max_size=5, unique=True))
        columns = tuple(Column(name, draw(kinds)) for name in names)
        return Schema(layout=Vector((len(columns),)), kinds=columns)
    layout = draw(st.sampled_from([Vector, Wave, Image, Volume, Points]))
    shape = tuple(draw(st.integers(1, 9)) for _ in layout.axes)
    labels = draw(st.none() | st.lists(texts, min_size=1, max_size=4, unique=True).map(tuple))
    return Schema(layout=layout(shape), kinds=draw(kinds), labels=labels, pieces=draw(pieces(shape[1:])))


@settings(derandomize=True, deadline=None)
@given(schemas())
def test_every_schema_survives_json(schema: Schema) -> None:
    assert decode(Schema, json.loads(json.dumps(encode(schema)))) == schema


@settings(derandomize=True, deadline=None)
@given(kinds, st.lists(st.integers(0, 1 << 20), max_size=20))
def test_values_are_numbered_both_ways(kind: Levels | Categories | Real, numbers: list[int]) -> None:
    if isinstance(kind, Real) and kind.resolution is None:
        with pytest.raises(UserError, match="resolution"):
            kind.index(np.zeros(3))
        return
    most = kind.count if kind.count is not None else 1 << 20
    index = np.array(numbers, np.int64) % most
    if isinstance(kind, Categories):
        index %= len(kind.values)  # the text of `other` may be listed, too
    assert np.array_equal(kind.index(kind.value(index)), index)


@pytest.mark.parametrize("values", [[-1], [3], [0, 3], [0.5], [np.nan], [np.inf]])
def test_what_is_no_level_has_no_number(values: list[float]) -> None:
    assert Levels(3).index(np.array([0, 2])).tolist() == [0, 2] and not len(Levels(3).index(np.zeros(0)))
    with pytest.raises(UserError, match="whole numbers from 0 to 2"):
        Levels(3).index(np.array(values))


def test_other_is_one_more_and_last() -> None:
    """The text that is not listed has the number after those that are; without `other` it is refused by name."""
    colours = Categories(("red", "green"), other=True)
    assert colours.count == 3 and colours.index(np.array(["blue", "red", "green"])).tolist() == [2, 0, 1]
    assert colours.value(np.array([1, 2])).tolist() == ["green", ""]
    with pytest.raises(UserError, match="'blue' is none"):
        replace(colours, other=False).index(np.array(["red", "blue"]))


def test_classes_are_known_by_name_then_by_number() -> None:
    named = replace(levels_schema((2,), 2, 3), labels=("2", "b", "c"))
    assert [named.label(one) for one in ("2", "b", "0", "1")] == [0, 1, 0, 1]
    for wrong in ("3", "-1", "d"):
        with pytest.raises(UserError, match=f"no class '{wrong}'"):
            named.label(wrong)


def test_a_mixed_table_states_its_kinds_and_measure() -> None:
    assert not MIXED.discrete
    assert (MIXED.dimensions, MIXED.dtype, MIXED.count, MIXED.widest) == (4, np.float64, None, 9)
    assert MIXED.measure == "Lebesgue, per kg × counting × the mass of an interval of 0.5 cm"
    assert MIXED.kind == f"mixed, {MIXED.measure}"
    with pytest.raises(UserError, match="no number of levels"):
        _ = MIXED.levels
    columns = {column.name: column.kind for column in MIXED.columns or ()}
    assert columns["colour"].index(np.array(["green", "blue"])).tolist() == [1, 2]
    assert columns["height"].index(np.array([1.5, -0.5])).tolist() == [3, -1]


def test_a_split_keeps_what_is_known_of_its_examples() -> None:
    x = np.arange(12.0).reshape(3, 4)
    split = Split(x, observed=x > 3, weight=np.ones(3), whole=np.array([0, 0, 1]))
    part = split.take(np.array([2, 0]))
    assert np.array_equal(part.x, x[[2, 0]]) and np.array_equal(part.observed, (x > 3)[[2, 0]])
    assert part.whole.tolist() == [1, 0] and part.labels is None
    for wrong in ({"observed": np.ones((3, 3), bool)}, {"weight": np.ones(2)}, {"whole": np.zeros((3, 1))}):
        with pytest.raises(ValueError):
            Split(x, **wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Levels(1), "from 2 to"),
        (lambda: Categories(()), "one or more"),
        (lambda: Categories(("a", "a")), "different"),
        (lambda: Real(resolution=0.0), "above 0"),
        (lambda: Image((8, 8)), "channels, height, width"),
        (lambda: Wave((1, 0)), r"shape\[1\]: expected a whole number from 1"),
        (lambda: Pieces((0,)), r"tile\[0\]: expected a whole number from 1"),
        (lambda: Schema(layout=Image((1, 2, 2)), kinds=(Column("a", Levels(2)),)), "columns do not fit"),
        (lambda: Schema(layout=Vector((2,)), kinds=(Column("a", Levels(2)),) * 2), "same name"),
        (lambda: Schema(layout=Vector((2,)), kinds=Levels(2), labels=("a", "a")), "same name"),
        (lambda: levels_schema((1, 2, 3, 4, 5), 2), "one to four axes"),
        (lambda: MIXED.label("a"), "no classes"),
        (lambda: levels_schema((2,), 2, 3).label("7"), "the classes are 0, 1, 2"),
    ],
)
def test_what_does_not_fit_is_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_a_layout_names_its_axes() -> None:
    for layout in (Vector, Image, Wave, Volume, Points):
        assert issubclass(layout, Layout) and len(layout.axes) >= 1


@pytest.mark.parametrize("levels", [2, 255, 256, 257, 65_535, 65_536])
def test_the_type_of_x_holds_every_level(levels: int) -> None:
    schema = levels_schema((3,), levels)
    assert np.array([levels - 1]).astype(schema.dtype).tolist() == [levels - 1]
