"""The monograph, executed: which code is each numbered result, and which test holds it.

`monograph.toml` lists the results of De Sousa Ribeiro & Glocker (2024). Which code and tests a result has is read from
their docstrings, which name it as people do: "(Eq. 3.48, A.21)", "Table 4.2", "Fig. 2.4". `page` joins the two. Sphinx
writes the page before it builds; `python docs/monograph.py` does so by hand.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "monograph.md"
LAST = {"2": 35, "3": 136, "4": 164, "5": 3, "A": 48}
"""The number of each chapter's last equation."""
STATE_NOTHING = ("definition", "notation", "recalled")

# What follows the year of another paper is that paper's numbering: "(Song et al. 2021, Section 4.3)".
OF_OTHERS = re.compile(r"\b(?:19|20)\d\d[a-z]?\)?, (?:Eq\.|Sections?|§|Appendix|Algorithms?|Tables?|Fig\.)[^;)]*")
_EQUATION = r"(?:[2-5]|A)\.\d{1,3}(?!\.?\d)"
_RANGE = rf"{_EQUATION}(?:–{_EQUATION})?"
# Equations of the appendix need no "Eq.": "(A.45–A.48)". "Appendix A.2" and "Section A.2" are sections.
EQUATIONS = re.compile(
    rf"Eq\. ({_RANGE}(?:(?:,| and|, and) {_RANGE})*)"
    rf"|(?<!Section )(?<!Appendix )(?<!§)\b(A\.\d+(?!\.?\d)(?:–{_EQUATION})?)"
)
FLOATS = re.compile(r"(Table|Fig\.)s? ((?:\d\.\d)(?:(?:,|–| and|, and) ?\d\.\d)*)")
SECTIONS = re.compile(r"(?:Sections? |Appendix |§)((?:[2-5]|A)(?:\.\d)*(?:(?:,| and|, and) (?:[2-5]|A)\.\d)*)")


@dataclass(frozen=True)
class Result:
    """A result of the monograph. at: where, in the words of docstrings; numbers: its equations, tables and figures.

    says: what, in a line; kind: what it is if it states nothing (`STATE_NOTHING`); figure: a picture, in a page.
    """

    at: str
    says: str
    numbers: tuple[str, ...]
    kind: str | None = None
    figure: str | None = None


@dataclass(frozen=True)
class Section:
    """A section of the monograph and its results."""

    number: str
    title: str
    results: tuple[Result, ...]


@dataclass(frozen=True)
class Marker:
    """What a docstring, a page or a line of the errata refers to: `numbers` of results, `sections` as a whole."""

    name: str
    numbers: frozenset[str]
    sections: frozenset[str]


@dataclass(frozen=True)
class Markers:
    """All that refers to the monograph. helpers: what is in the tests' files and is no test."""

    code: tuple[Marker, ...]
    tests: tuple[Marker, ...]
    helpers: tuple[Marker, ...]
    pages: tuple[Marker, ...]
    errata: tuple[Marker, ...]

    def all(self) -> tuple[Marker, ...]:
        return self.code + self.tests + self.helpers + self.pages + self.errata


def numbers_of(text: str) -> tuple[str, ...]:
    """The equations ("3.48", "A.21"), tables ("Table 4.2") and figures ("Fig. 2.4") that a text refers to."""
    text = OF_OTHERS.sub("", " ".join(text.split()))
    found = []
    for match in EQUATIONS.finditer(text):
        for part in re.findall(_RANGE, match[1] or match[2]):
            found += _spread(part)
    for kind, listed in FLOATS.findall(text):
        for part in re.findall(r"\d\.\d(?:–\d\.\d)?", listed):
            found += [f"{kind} {number}" for number in _spread(part)]
    return tuple(dict.fromkeys(found))


def sections_of(text: str) -> tuple[str, ...]:
    """The sections that a text refers to: "2.5", "4.7.1", "A.2", "3"."""
    text = OF_OTHERS.sub("", " ".join(text.split()))
    return tuple(part for listed in SECTIONS.findall(text) for part in re.findall(r"(?:[2-5]|A)(?:\.\d)*", listed))


def _spread(part: str) -> list[str]:
    """ "3.42–3.44" -> "3.42", "3.43", "3.44"."""
    first, _, last = part.partition("–")
    chapter, start = first.split(".")
    return [f"{chapter}.{number}" for number in range(int(start), int((last or first).split(".")[1]) + 1)]


def read_sections() -> tuple[Section, ...]:
    """The list of results."""
    listed = tomllib.loads(PAGE.with_suffix(".toml").read_text("utf-8"))["section"]
    return tuple(
        Section(
            section["number"],
            section["title"],
            tuple(Result(numbers=numbers_of(result["at"]), **result) for result in section.get("result", ())),
        )
        for section in listed
    )


def read_markers(root: Path = ROOT) -> Markers:
    """All that refers to the monograph in the code, the tests and the pages."""
    code = [m for path in sorted((root / "src" / "vlb").rglob("*.py")) for m in _in_python(path, _module(path, root))]
    tests, helpers = [], []
    for path in sorted((root / "tests").rglob("*.py")):
        for marker in _in_python(path, path.relative_to(root).as_posix(), "::"):
            (tests if marker.name.rpartition("::")[2].startswith("test_") else helpers).append(marker)
    pages = [
        _marker(path.name, path.read_text("utf-8"))
        for path in sorted((root / "docs").glob("*.md"))
        if path.name not in ("monograph.md", "errata.md")
    ]
    rows = re.findall(r"^\| (.+?) \|", (root / "docs" / "errata.md").read_text("utf-8"), re.MULTILINE)
    errata = [_marker(row, row) for row in rows]
    return Markers(
        *(tuple(m for m in found if m.numbers or m.sections) for found in (code, tests, helpers, pages, errata))
    )


def _marker(name: str, text: str) -> Marker:
    return Marker(name, frozenset(numbers_of(text)), frozenset(sections_of(text)))


def _module(path: Path, root: Path) -> str:
    parts = path.relative_to(root / "src" / "vlb").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "vlb"


def _in_python(path: Path, name: str, joined: str = ".") -> Iterator[Marker]:
    """One marker for the module, each class and each function that has a docstring."""

    def walk(node: ast.AST, name: str) -> Iterator[Marker]:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield _marker(name, ast.get_docstring(node) or "")
            for child in node.body:
                if isinstance(child, ast.ClassDef | ast.FunctionDef):
                    yield from walk(child, f"{name}{joined}{child.name}")

    yield from walk(ast.parse(path.read_text("utf-8")), name)


def named(markers: tuple[Marker, ...], result: Result) -> list[str]:
    """The names of what refers to a result."""
    return [marker.name for marker in markers if marker.numbers & set(result.numbers)]


def showing(figure: str) -> str | None:
    """The page that shows a figure, the first of them, if it is there."""
    if not (PAGE.parent / figure).exists():
        return None
    pages = (path for path in sorted(PAGE.parent.glob("*.md")) if path != PAGE)
    return next((path.name for path in pages if f"]({figure})" in path.read_text("utf-8")), None)


@dataclass(frozen=True)
class Coverage:
    """Of the results that state something, which have code and a test, and which lack one of them."""

    covered: tuple[Result, ...]
    lacking: tuple[Result, ...]

    @property
    def share(self) -> float:
        return len(self.covered) / (len(self.covered) + len(self.lacking))


def coverage(sections: tuple[Section, ...], markers: Markers) -> Coverage:
    """Counted over all results that state something."""
    states = [result for section in sections for result in section.results if result.kind is None]
    covered = [result for result in states if named(markers.code, result) and named(markers.tests, result)]
    return Coverage(tuple(covered), tuple(result for result in states if result not in covered))


def complaints(sections: tuple[Section, ...], markers: Markers) -> list[str]:
    """What is wrong: with the list, with references to what it does not have, with results that nothing refers to."""
    results = [result for section in sections for result in section.results]
    listed = [number for result in results for number in result.numbers]
    equations = [f"{chapter}.{i}" for chapter, last in LAST.items() for i in range(1, last + 1)]
    found = [f"the list has {one} {listed.count(one)} times" for one in sorted(set(listed)) if listed.count(one) > 1]
    found += [f"the list lacks Eq. {number}" for number in equations if number not in listed]
    for result in results:
        if result.kind not in (None, *STATE_NOTHING):
            found.append(f"{result.at}: {result.kind!r} is no kind of what states nothing, which are {STATE_NOTHING}")
        if result.figure and not showing(result.figure):
            found.append(f"{result.at}: no page shows docs/{result.figure}")
    sectioned = {section.number for section in sections}
    for marker in markers.all():
        absent = [*sorted(marker.numbers - set(listed)), *(f"Section {n}" for n in sorted(marker.sections - sectioned))]
        found += [f"{marker.name} refers to {what}, which the list does not have" for what in absent]
    found += [
        f"{result.at} states something, and no code and no test refers to it"
        for result in results
        if result.kind is None and not named(markers.code + markers.tests, result)
    ]
    return found


def page() -> str:
    """The page. Raises `ValueError` with all that is wrong."""
    sections, markers = read_sections(), read_markers()
    wrong = complaints(sections, markers)
    if wrong:
        raise ValueError("\n".join(["docs/monograph.md cannot be made:", *wrong]))
    return (
        "\n".join([*_head(sections, markers), *(line for section in sections for line in _shown(section, markers))])
        + "\n"
    )


def _head(sections: tuple[Section, ...], markers: Markers) -> Iterator[str]:
    counted = coverage(sections, markers)
    total = len(counted.covered) + len(counted.lacking)
    yield "<!-- Made by docs/monograph.py of monograph.toml and the docstrings of code and tests: edit those. -->"
    yield "# The monograph, executed"
    yield ""
    yield (
        "What each numbered result of De Sousa Ribeiro & Glocker (2024), *Demystifying Variational Diffusion Models*, "
        "says; the code of `vlb` that is it, or says why it does otherwise; the tests that hold it, "
        "as corrected; where these pages speak of it; and what is "
        "[printed otherwise than it holds](errata.md). A derivation is one result."
    )
    yield ""
    lines = sum(LAST.values())
    yield (
        f"**{len(counted.covered)} of the {total} results that state something have both code and a test, "
        f"{100 * counted.share:.0f} %.** With what is defined, named or recalled from textbooks, they are all {lines} "
        "numbered equations, the tables, and the figures that state something."
    )
    if counted.lacking:
        yield ""
        yield "Without one of them: " + "; ".join(f"{r.at} ({_lacks(r, markers)})" for r in counted.lacking) + "."
    yield ""
    yield (
        "Which code and tests a result has is read from their docstrings, which refer to it, as in “(Eq. 3.48, A.21)”. "
        "A reference to what is not listed, and a result that nothing refers to, fail the build. Modules are those of "
        "`vlb`."
    )


def _lacks(result: Result, markers: Markers) -> str:
    return "no test" if named(markers.code, result) else "no code"


def _shown(section: Section, markers: Markers) -> Iterator[str]:
    yield ""
    yield f"{'###' if '.' in section.number else '##'} {section.number} {section.title}"
    whole = [marker.name for marker in markers.code if section.number in marker.sections]
    if whole:
        yield ""
        yield "As a whole: " + _code(whole)
    for marker in markers.errata:
        if section.number in marker.sections and not marker.numbers:
            yield ""
            yield f"[Erratum](errata.md): {marker.name}"
    for result in section.results:
        yield ""
        kind = f" *({result.kind})*" if result.kind else ""
        yield f"**{result.at}**{kind}. {result.says}"
        beside = list(_beside(result, markers))
        yield from ("", *beside) if beside else ()


def _beside(result: Result, markers: Markers) -> Iterator[str]:
    """What refers to a result, an item of a list for each sort."""
    for label, names in (("code", named(markers.code, result)), ("tests", named(markers.tests, result))):
        if names:
            yield f"- {label}: {_code(names)}"
    seen = [f"[{name.removesuffix('.md')}]({name})" for name in named(markers.pages, result)]
    if result.figure:
        seen.append(f"[figure]({showing(result.figure)})")
    if seen:
        yield f"- seen in: {', '.join(seen)}"
    for name in named(markers.errata, result):
        yield f"- [erratum](errata.md): {name}"


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def write() -> None:
    """Write the page where it changed."""
    text = page()
    if not PAGE.exists() or PAGE.read_text("utf-8") != text:
        PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    write()
