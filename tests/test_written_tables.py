"""Pages say what the files of results say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

FILE = Path(__file__).parents[1] / "benchmarks" / "write_tables.py"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_tables", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_files(writer: ModuleType) -> None:
    for page, text in writer.pages().items():
        assert page.read_text("utf-8") == text, f"{page.name}: python benchmarks/write_tables.py"


def test_no_page_has_a_table_that_nothing_writes(writer: ModuleType) -> None:
    written = {(page, name) for page, name, _ in writer.TABLES}
    for page in (writer.README, *writer.DOCS.glob("*.md")):
        for line in page.read_text("utf-8").splitlines():
            if line.startswith("<!-- table: "):
                assert (page, line.removeprefix("<!-- table: ").removesuffix(" -->")) in written


TEXT = st.text(alphabet="ab |\n", max_size=30)


@given(before=TEXT, old=TEXT, table=TEXT, after=TEXT)
def test_nothing_else_of_a_page_changes(writer: ModuleType, before: str, old: str, table: str, after: str) -> None:
    page = f"{before}<!-- table: x -->{old}{writer.END}{after}"
    made = writer.put(page, "x", table)
    assert made.startswith(before) and made.endswith(f"{writer.END}{after}") and table in made
    assert writer.put(made, "x", table) == made
