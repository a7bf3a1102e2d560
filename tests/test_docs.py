"""Every command line that README and documentation show is one that the command line takes."""

import ast
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from cyclopts import CycloptsError, MissingArgumentError

import vlb
from vlb.interfaces.cli import app
from vlb.training.options import TrainOptions
from vlb.training.recipes import recipe
from vlb.training.verb import adjust

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`(vlb [a-z][^`]*)`")
NUMBER = re.compile(r"\b[A-Z]\b")  # as in --steps T


def lines(text: str) -> Iterator[tuple[str, bool]]:
    """What begins with `vlb`, and whether it must be whole: as in a block, but not in a sentence."""
    for block in BLOCK.findall(text):
        yield from ((line.strip(), True) for line in block.replace("\\\n", " ").splitlines())
    yield from ((" ".join(match.split()), False) for match in INLINE.findall(BLOCK.sub("", text)))


EXAMPLE = re.search(r"e\.g\. (--set .*?);", TrainOptions.__doc__ or "")
TRAIN_HELP = f"vlb train digits {EXAMPLE[1] if EXAMPLE else ''}"

SHOWN = sorted(
    {
        (page.name, part.strip(), whole)
        for page in PAGES
        for line, whole in lines(page.read_text("utf-8"))
        for part in re.split(r"&&|;", line.partition(" #")[0])
        if part.strip().startswith("vlb ")
    }
)


@pytest.mark.parametrize(("page", "command", "whole"), SHOWN, ids=[f"{page}: {command}" for page, command, _ in SHOWN])
def test_a_shown_command_is_one(page: str, command: str, whole: bool) -> None:
    words = [NUMBER.sub("3", word) for word in shlex.split(command)[1:] if word != "…"]
    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        if whole or not isinstance(error, MissingArgumentError):
            pytest.fail(f"{page}: `{command}`: {error}")


SET = [command for _, command, whole in SHOWN if whole and command.startswith("vlb train ") and "--set" in command]


@pytest.mark.parametrize("command", sorted({*SET, TRAIN_HELP}))
def test_what_a_shown_command_sets_is_a_field_of_its_recipe(command: str) -> None:
    words = shlex.split(command)
    overrides = tuple(after for word, after in pairwise(words) if word == "--set")
    assert overrides
    adjust(recipe(words[2]), TrainOptions(overrides=overrides), None)


def test_there_are_commands_to_check() -> None:
    assert len(SHOWN) > 40 and sum(whole for *_, whole in SHOWN) > 20


PYTHON = re.compile(r"(?<! -->\n)^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)  # but what is marked as not run
FENCED = re.compile(r"^(```+|~~~+).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(<?([^)\s>]+)>?\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The places in a page that a link may name: its headings, as GitHub and Sphinx call them."""
    plain = (heading.replace("`", "").lower() for heading in HEADING.findall(FENCED.sub("", page.read_text("utf-8"))))
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", name)).replace(" ", "-") for name in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_imports_is_there(page: Path) -> None:
    for block in PYTHON.findall(page.read_text("utf-8")):
        imports = [node for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), page.name, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_where_a_page_links_to_is_there_and_its_pictures_are_described(page: Path) -> None:
    for picture, text, link in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        path, _, place = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not place or place in anchors(target), link
        assert not picture or len(text.split()) > 2, f"{link}: say what the picture shows"


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", index, re.MULTILINE | re.DOTALL)
    listed = [name for tree in trees for name in tree.splitlines() if name and not name.startswith(":")]
    pages = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(listed) == sorted(pages - {"index"})


def test_the_api_page_shows_all_that_vlb_offers() -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    shown = dict(re.findall(r"automodule:: (\S+)\n   :members:(.*)", text))
    for name in vlb.__all__:
        home = getattr(vlb, name).__module__
        assert home in shown and (not shown[home].strip() or name in re.findall(r"\w+", shown[home])), (name, home)


def test_the_design_names_every_module() -> None:
    named = set(re.findall(r"`([a-z_]+)/?`", (ROOT / "docs" / "design.md").read_text("utf-8")))
    modules = {path.stem for path in (ROOT / "src" / "vlb").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {name for name in modules if not name.startswith("_")} <= named
