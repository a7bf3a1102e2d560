"""Notations of numbers: what is written is read, and where a mark may be either, the file or a word decides."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.core.schema import Real
from vlb.data.columns import cells_of, cells_of_file, infer
from vlb.data.mixed import ways_of
from vlb.data.numbers import BESIDE_COMMAS, BY_COMMAS, BY_POINTS, COMMA, NOTATIONS, POINT, Notation, notation

NUMBERS = st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=3)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(NUMBERS, st.sampled_from(NOTATIONS), st.sampled_from(["", "%"]))
def test_what_is_written_is_read(value: Decimal, way: Notation, sign: str) -> None:
    signed = Notation(way.decimal, way.thousands, sign)
    text = signed.written(f"{value:f}") + sign
    assert signed(text) == value and signed.plain(text).strip() == f"{value:f}"
    assert not sign or (way(text) is None and signed(text[:-1]) is None)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(NUMBERS, min_size=1, max_size=6), st.sampled_from(NOTATIONS))
def test_a_notation_that_reads_a_column_differs_in_one_way_alone(column: list[Decimal], way: Notation) -> None:
    """With three places throughout: the mark is a decimal one, or stands between thousands."""
    texts = [way.written(f"{value:f}") for value in column]
    found = notation(texts)
    assert found is not None
    same = [found(text) for text in texts] == column
    assert same or (way in (POINT, COMMA) and found.thousands == way.decimal) or found.decimal == way.thousands


def rows(*columns: list[str]) -> np.ndarray:
    return np.array([list(row) for row in zip(*columns, strict=True)], object)


DOUBTED = ["1,234", "5,678", "12,345", "901"]
POINTED = [text.replace(",", ".") for text in DOUBTED]
WHOLE = [1234.0, 5678.0, 12345.0, 901.0]
PARTS = [1.234, 5.678, 12.345, 901.0]


@pytest.mark.parametrize(
    ("column", "beside", "values", "thousands", "said"),
    [
        (DOUBTED, ["x", "y", "x", "y"], PARTS, "", 'give it `thousands = ","`'),
        (DOUBTED, ["1,5", "2,25", "0,5", "3"], PARTS, "", ""),
        (DOUBTED, ["1.5", "2.25", "0.5", "3"], WHOLE, ",", "leave out `thousands`"),
        (DOUBTED, ["1,234.5", "2", "3", "4"], WHOLE, ",", "leave out `thousands`"),
        (POINTED, ["x", "y", "x", "y"], PARTS, "", 'give it `thousands = "."`'),
        (POINTED, ["1.5", "2.25", "0.5", "3"], PARTS, "", ""),
        (POINTED, ["1,5", "2,25", "0,5", "3"], WHOLE, ".", "leave out `thousands`"),
        (
            ["1,234,567", "5", "6", "7"],
            ["x", "y", "x", "y"],
            [1234567, 5, 6, 7],
            ",",
            "with commas between thousands",
        ),
        (["1.234,5", "5", "6", "7"], ["x", "y", "x", "y"], [1234.5, 5, 6, 7], ".", "with points between thousands"),
        (["0,123", "5,678", "1,5", "7"], ["x", "y", "x", "y"], [0.123, 5.678, 1.5, 7], "", ""),
    ],
)
def test_the_file_tells_a_decimal_mark_from_one_between_thousands_or_a_word_does(
    column: list[str], beside: list[str], values: list[float], thousands: str, said: str
) -> None:
    cells = cells_of_file(["a", "b"], rows(column, beside), NOTATIONS)[0]
    assert cells.values.tolist() == values
    found, note = infer(cells)
    assert found.thousands == thousands == found.columns[0].thousands
    assert said in note.text and ("schema.toml" in note.text) == (said.startswith(("give", "leave")))
    assert all(way.thousands == thousands for way in ways_of(found, NOTATIONS))


def test_beside_commas_that_divide_cells_none_is_a_decimal_comma() -> None:
    cells = cells_of_file(["a", "b"], rows(DOUBTED, ["1.234", "2.345", "3.456", "4.567"]), BESIDE_COMMAS)
    assert cells[0].values.tolist() == WHOLE and cells[0].notation == BY_COMMAS
    assert cells[1].notation == POINT and not cells[1].doubted
    assert not cells_of("c", ["1,5", "2,5"], offered=BESIDE_COMMAS).numeric


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(st.integers(-2000, 2000), min_size=20, max_size=40, unique=True),
    st.sampled_from(["%", " %"]),
    st.booleans(),
)
def test_shares_are_numbers_in_per_cent(tenths: list[int], end: str, comma: bool) -> None:
    texts = [f"{value / 10}".replace(".", "," if comma else ".") + end for value in tenths]
    cells = cells_of("c", texts)
    assert cells.values.tolist() == [value / 10 for value in tenths]
    found, note = infer(cells)
    assert isinstance(found.kind, Real) and found.kind.unit == "%" and "per cent" in note.text
    assert not cells_of("c", [*texts, "0.5"]).numeric  # of which unit that would be nobody says


def test_a_mark_that_is_in_no_text_is_in_no_notation() -> None:
    assert notation(["1", "23"]) == notation(["1", "2.5"]) == POINT and notation(["1", "2,5"]) == COMMA
    assert notation(["1.234.567"]) == BY_POINTS and notation(["12,34,567"]) is None
