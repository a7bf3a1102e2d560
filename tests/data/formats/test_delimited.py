"""Delimited text: what the csv module reads, and every byte back."""

import csv
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.data.formats.base import Declined, File, Member
from vlb.data.formats.delimited import Delimited, style_of

FORMAT = Delimited()
CELL = st.text(st.sampled_from('ab1.é ,;\t|"\n'), max_size=6) | st.sampled_from(
    ["", "1", "1.0", "red", "a,b", "x\r\ny"]
)
ROWS = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=6)
)
QUOTING = st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])


def written(rows: list[list[str]], delimiter: str, newline: str, quoting: int) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, lineterminator=newline, quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    return stream.getvalue()


@given(ROWS, st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]), QUOTING)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_a_stated_delimiter_gives_the_rows_of_csv(
    rows: list[list[str]], delimiter: str, newline: str, how: int
) -> None:
    content = f"sep={delimiter}{newline}{written(rows, delimiter, newline, how)}".encode()
    file = FORMAT.read(content)
    cells = file.members[0].values
    trailing = len(rows[0]) - cells.shape[1]
    assert [row + [""] * trailing for row in cells.tolist()] == rows
    assert FORMAT.write(file) == content


@given(ROWS, st.sampled_from(",;\t|"), st.integers(1, 3), st.integers(0, 2), QUOTING)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_a_first_row_may_lack_the_delimiters_that_all_others_end_with(
    rows: list[list[str]], delimiter: str, lacking: int, more: int, how: int
) -> None:
    """Any number of them, whatever it has itself; of one row none is lacking."""
    plain = [written([row], delimiter, "\n", how)[:-1] for row in rows]
    first, others = delimiter * more, delimiter * (more + lacking)
    lines = [line + (others if number else first) for number, line in enumerate(plain)]
    content = "\n".join([f"sep={delimiter}", *lines, ""]).encode()
    file = FORMAT.read(content)
    cells = file.members[0].values
    taken = len(rows[0]) - cells.shape[1]
    assert [row + [""] * taken for row in cells.tolist()] == rows
    assert style_of(file).short == (lacking if len(rows) > 1 else 0)
    assert FORMAT.write(file) == content


@given(
    ROWS, st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n", "\r"]), QUOTING,
    st.sampled_from(["", "\ufeff", "sep=;\n"]), st.sampled_from(["", "\n\n", "\r\n"]),
    st.sampled_from(["utf-8", "cp1252", "utf-16", "utf-32"]), st.randoms(use_true_random=False),
)  # fmt: skip
@settings(derandomize=True, deadline=None, max_examples=500)
def test_any_file_comes_back_to_the_byte_or_is_declined(
    rows: list[list[str]], delimiter: str, newline: str, how: int, start: str, tail: str, encoding: str,
    rng: random.Random,
) -> None:  # fmt: skip
    content = bytearray((start + written(rows, delimiter, newline, how) + tail).encode(encoding, "ignore"))
    for _ in range(rng.randrange(4)):
        content[rng.randrange(len(content)) :][:1] = b""
        content.insert(rng.randrange(len(content) + 1), rng.choice(b'",;\r\n\xe9a'))
    try:
        file = FORMAT.read(bytes(content))
    except Declined:
        return
    assert FORMAT.write(file) == bytes(content)


@pytest.mark.parametrize(
    ("content", "cells"),
    [
        (b"a\tb\n1,5\t2\n", [["a", "b"], ["1,5", "2"]]),
        (b'\xef\xbb\xbfa;b\r\n"1,5";2\r\n', [["a", "b"], ["1,5", "2"]]),
        (b"a,b,\n1,2,\n", [["a", "b"], ["1", "2"]]),
        (b"a;b\r\n1;2;\r\n3;4;", [["a", "b"], ["1", "2"], ["3", "4"]]),
        (b",a\n0,x\n", [["", "a"], ["0", "x"]]),
        (b'size,n\n5" pipe,1\n', [["size", "n"], ['5" pipe', "1"]]),
        (b'"a,\n""b""",c\r\n1,2\n\n\n', [['a,\n"b"', "c"], ["1", "2"]]),
        (b"only\n1\n2", [["only"], ["1"], ["2"]]),
        (b"n\xe9,b\n1,2\n", [["né", "b"], ["1", "2"]]),
    ],
)
def test_what_people_export(content: bytes, cells: list[list[str]]) -> None:
    file = FORMAT.read(content)
    assert file.members[0].values.tolist() == cells and FORMAT.write(file) == content
    assert style_of(file).encoding == ("cp1252" if b"n\xe9" in content else "utf-8")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no rows"),
        (b"\n\n", "no rows"),
        (b"a,b\n1,\x002\n", "NUL"),
        (b"\xff\xfea\0,\0b\0\n\0\0\xd8", "begins as UTF-16 does, and is none from byte"),
        ("a,b\n1,\x002\n".encode("utf-16"), "NUL characters, the first in line 2"),
        (b"a,b\n1,2\n3\n", "1 cell in line 3, where the first row has 2"),
        (b'a,b\n"x\ny",2\n3\n', "1 cell in line 4"),
        (b"a,b\n1,2,\n3,4,5\n", "3 cells in line 3, where the first row has 2: '5' is one too many"),
        (b"a,b\n1,2,\n3,4\n", "3 cells in line 2, where the first row has 2: '' is one too many"),
        (b'a,b\n1,2,""\n3,4,\n', "3 cells in line 2"),
        (b'a,b\n1,"2\n' + b"3,4\n" * 100_000, "never closed, opened in line 2"),
        (b'a,b\n"x"y,2\n', "more of its cell, opened in line 2"),
    ],
)
def test_what_is_declined_says_where(content: bytes, why: str) -> None:
    with pytest.raises(Declined, match=why):
        FORMAT.read(content)


def test_what_this_library_writes_needs_no_rest() -> None:
    content = written([["a", "b"], ["1", 'x, "y"\n']], ",", "\n", csv.QUOTE_MINIMAL).encode()
    assert FORMAT.read(content).rest == b""


def test_other_cells_may_be_written_with_a_rest() -> None:
    file = FORMAT.read(b'"a";b\r\n5" x;2')
    other = File((Member("", file.members[0].values[::-1].copy()),), file.rest)
    other.members[0].values[1, 1] = "p;q"
    assert FORMAT.read(FORMAT.write(other)).members[0].values.tolist() == other.members[0].values.tolist()
    with pytest.raises(Declined, match="rest"):
        FORMAT.write(File(file.members, b'{"delimiter": 3}'))


@pytest.mark.parametrize(("rows", "columns"), [(3, 5_000), (50_000, 3)])
def test_large_tables(rows: int, columns: int) -> None:
    content = b"\n".join([b",".join([b"12"] * columns)] * rows)
    file = FORMAT.read(content)
    assert file.members[0].values.shape == (rows, columns) and len(file.rest) < 50
