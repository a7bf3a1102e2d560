"""Code of this package as one text that stands by itself: what some classes and functions need of it, in order."""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

OWN = "vlb"


class Source(NamedTuple):
    """A module: its lines, its definitions by name, of what module other names are, and the imports of the rest."""

    lines: list[str]
    definitions: dict[str, ast.stmt]
    imported: dict[str, tuple[str, str]]
    whole: dict[str, str]


def bundled(*roots: type) -> str:
    """The text of classes and of everything of this package that they name, after the imports that it needs.

    Raises `ValueError` where two definitions have one name.
    """
    found: dict[str, tuple[str, str]] = {}  # name -> its module and text, in the order in which they have to stand
    external: set[str] = set()
    for root in roots:
        _collect(root.__module__, root.__name__, found, external, set())
    texts = (text for _, text in found.values())
    return (
        "\n".join(["from __future__ import annotations", "", *sorted(external), ""])
        + "\n\n"
        + "\n\n\n".join(texts)
        + "\n"
    )


def _collect(
    module: str, name: str, found: dict[str, tuple[str, str]], external: set[str], begun: set[tuple[str, str]]
) -> None:
    source = _source(module)
    if name in source.imported:
        _name(source, name, found, external, begun)
        return
    if (module, name) in begun or (name in found and found[name][0] == module):
        return
    if name in found:
        raise ValueError(f"{module} and {found[name][0]} both define {name}")
    begun.add((module, name))
    node = source.definitions[name]
    at_once, later = _names(node)

    def collect(names: list[str]) -> None:
        for used in names:
            if used in source.definitions:
                _collect(module, used, found, external, begun)
            else:
                _name(source, used, found, external, begun)

    collect(at_once)
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
    found[name] = module, "\n".join(source.lines[first - 1 : node.end_lineno])
    collect(later)


def _name(
    source: Source, name: str, found: dict[str, tuple[str, str]], external: set[str], begun: set[tuple[str, str]]
) -> None:
    """What an imported name stands for: a definition of this package, or an import that is kept."""
    if name in source.whole:
        external.add(source.whole[name])
    elif name in source.imported:
        module, original = source.imported[name]
        if module.split(".")[0] != OWN:
            external.add(f"from {module} import {original}")
        else:
            _collect(module, original, found, external, begun)


@cache
def _source(module: str) -> Source:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    text = Path(spec.origin).read_text("utf-8")
    source = Source(text.splitlines(), {}, {}, {})
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            source.definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            source.definitions.update({target.id: node for target in targets if isinstance(target, ast.Name)})
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.asname is None:
                    source.imported[alias.name] = (str(node.module), alias.name)
                else:
                    source.whole[alias.asname] = f"from {node.module} import {alias.name} as {alias.asname}"
        elif isinstance(node, ast.Import):
            source.whole.update({alias.asname or alias.name.split(".")[0]: ast.unparse(node) for alias in node.names})
    return source


def _names(node: ast.AST) -> tuple[list[str], list[str]]:
    """The names that code reads as it is defined, and those that it reads when it is called, once each in their order.

    Annotations are not evaluated.
    """
    at_once: dict[str, None] = {}
    later: dict[str, None] = {}

    def visit(part: ast.AST, into: dict[str, None]) -> None:
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            into[part.id] = None
        for field, value in ast.iter_fields(part):
            if field in ("annotation", "returns"):
                continue
            body = field == "body" and isinstance(part, ast.FunctionDef | ast.Lambda)
            for inner in value if isinstance(value, list) else (value,):
                if isinstance(inner, ast.AST):
                    visit(inner, later if body else into)

    visit(node, at_once)
    return list(at_once), [name for name in later if name not in at_once]
