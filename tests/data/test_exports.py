"""Generated exports of tables: training, scoring and the codec see the same values, and errors say where."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlb.base.errors import UserError
from vlb.coding.elements import Model, Texts
from vlb.data.formats.delimited import Delimited
from vlb.data.rows import as_text
from vlb.data.tables import load_rows, load_table, quoted, unquoted

NAME = st.text(st.sampled_from('ab1é ,;\t|"\n'), max_size=4)
WORDS = st.lists(st.text(st.sampled_from('xy é,;\t|"\r\n'), max_size=4), min_size=1, max_size=3)
NUMBERS = st.lists(st.sampled_from(["1", "1.0", "-2", "2.50", "3e1"]), min_size=1, max_size=4)
COMMAS = st.lists(st.sampled_from(["1,5", "1,50", "2", "-0,25"]), min_size=1, max_size=4)
QUOTED = st.sampled_from(["all", "texts", "strange"])
CHECKED = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True)
class Export:
    """A table, and how a program writes it."""

    names: list[str] | None
    rows: list[list[str]]
    start: str
    delimiter: str
    newline: str
    quoted: str
    trailing: bool
    tail: str

    def cell(self, text: str) -> str:
        plain = text.replace(".", "").isalnum() if self.quoted == "strange" else re.fullmatch(r"-?\d[\d.e]*", text)
        return text if plain and self.quoted != "all" else '"' + text.replace('"', '""') + '"'

    def written(self, rows: list[list[str]]) -> tuple[bytes, list[int]]:
        """The file of other rows, and the line in which each begins."""
        text, lines = self.start, []
        for row in ([self.names] if self.names else []) + rows:
            lines.append(1 + len(re.findall("\r\n|\r|\n", text)))
            text += self.delimiter.join(map(self.cell, row)) + self.delimiter * self.trailing + self.newline
        return (text + self.tail).encode(), lines[bool(self.names) :]


@st.composite
def exports(draw: st.DrawFn) -> Export:
    width, newline = draw(st.integers(1, 4)), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    names = draw(st.none() | st.lists(NAME, min_size=width, max_size=width, unique=True))
    cells = [draw(WORDS | NUMBERS | COMMAS) for _ in range(width)]
    rows = [[draw(st.sampled_from(column)) for column in cells] for _ in range(draw(st.integers(4, 9)))]
    delimiter = draw(st.sampled_from(",;\t|"))
    start = draw(st.sampled_from(["", "\ufeff"])) + f"sep={delimiter}{newline}"
    return Export(
        names, rows, start, delimiter, newline, draw(QUOTED), draw(st.booleans()), draw(st.sampled_from(["", newline]))
    )


@given(export=exports())
@CHECKED
def test_training_scoring_and_the_codec_see_the_same_values(export: Export, tmp_path: Path) -> None:
    content, _ = export.written(export.rows)
    (tmp_path / "t.csv").write_bytes(content)
    data = load_table(tmp_path / "t.csv", export.names is not None)
    columns = data.schema.columns
    assert columns is not None
    assert [None if column.name is None else unquoted(column.name) for column in columns] == (
        export.names or [None] * len(columns)
    )
    x, unseen = load_rows(tmp_path / "t.csv", columns)
    assert not unseen and len(x) == len(export.rows)
    trained = np.concatenate([data.train.x, data.validation.x, data.test.x])
    assert sorted(trained.tolist()) == sorted(x.tolist())
    cells = Delimited().read(content).members[0].values[bool(export.names) :]
    coded, odd = Texts().levels(cells, Model(data.shape, data.levels, columns)) or pytest.fail("no table")
    for i, row in enumerate(export.rows):
        for j, (cell, column) in enumerate(zip(row, columns, strict=True)):
            value = unquoted(column.values[x[i, j]])
            assert value == cell or float(value.replace(",", ".")) == float(cell.replace(",", "."))
            assert (i * len(row) + j in odd) == (quoted(cell) not in column.values) and (
                cell != value or coded[i, j] == x[i, j]
            )
    again = f"sep={export.delimiter}\n".encode() + as_text(x, columns, export.delimiter)
    (tmp_path / "again.csv").write_bytes(again)
    assert load_rows(tmp_path / "again.csv", columns).x.tolist() == x.tolist()


@given(export=exports(), data=st.data())
@CHECKED
def test_what_is_wrong_is_named_by_line_and_column(export: Export, data: st.DataObject, tmp_path: Path) -> None:
    path, names = tmp_path / "t.csv", export.names
    path.write_bytes(export.written(export.rows)[0])
    columns = load_table(path, names is not None).schema.columns
    assert columns is not None
    i, j = data.draw(st.integers(1, len(export.rows) - 1)), data.draw(st.integers(0, len(columns) - 1))
    rows = [list(row) for row in export.rows]
    rows[i][j] = "never seen"
    content, lines = export.written(rows)
    path.write_bytes(content)
    assert load_rows(path, columns).unseen == {
        i: f"line {lines[i]}: column {j + 1 if names is None else repr(names[j])} has 'never seen'"
    }
    rows[i] = [*export.rows[i], "more"]
    content, lines = export.written(rows)
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_rows(path, columns)
    assert re.search(rf"has \d+ cells? in line {lines[i]}, where the first row has", str(caught.value))
    if len(columns) > 1:
        rows[i] = export.rows[i][:-1]
        content, lines = export.written(rows)
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            load_rows(path, columns)
        under = (names or rows[0])[-1] if not export.trailing else ""
        assert re.search(rf"has \d+ cells? in line {lines[i]}, where the first row has", str(caught.value))
        assert f": none under {under!r}" in str(caught.value)
