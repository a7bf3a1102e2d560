"""The counts of `docs/design.md`: how often the library asks what a model is, what knows a kind, how much there is.

    python benchmarks/count_design.py [SRC]

SRC is the folder of the package, src/vlb by default. Files are parsed, nothing is imported: any commit can be counted.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

LONG = 400
KINDS = {
    "the schedule InterpolatedCosine": r"InterpolatedCosine(Config)?",
    "mixtures": r"CategoricalMixture|Mixture(Config|Objective|Loss|Terms|Content)",
    "ladder networks": r"Ladder(Network|Config|Objective|Loss|Terms|Content)?",
    "VAEs": r"VariationalHierarchy|(TopDown|BottomUp)VAE|(Residual)?H?VAE(Config)?|Elbo(Objective|Loss|Terms)",
    "levels, of which most models are": r"[Ll]evels",
}


def classes(trees: dict[Path, ast.Module]) -> dict[str, ast.ClassDef]:
    """The classes that files define, by name."""
    return {node.name: node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def names(node: ast.AST) -> set[str]:
    """What an expression or a file names: variables, attributes, parameters, imports, classes."""
    found = set()
    for part in ast.walk(node):
        match part:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.arg(arg=name):
                found.add(name)
    return found


def questions(tree: ast.Module) -> Iterator[set[str]]:
    """The names that each isinstance and issubclass asks for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and names(node.func) & {"isinstance", "issubclass"} and len(node.args) == 2:
            yield names(node.args[1])


def elsewhere(tree: ast.Module) -> set[str]:
    """The names that a file defines as classes itself, or imports from other places than models: other classes."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and "models" not in (node.module or "").split(".")
        for alias in node.names
    }
    return imported | {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def methods(name: str, offered: dict[str, ast.ClassDef]) -> set[str]:
    """The methods of a class, its own and inherited from others that are offered; of a protocol, none."""
    node = offered.get(name)
    if node is None or any("Protocol" in names(base) for base in node.bases):
        return set()
    own = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    bases = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
    return own.union(*(methods(name, offered) for base in bases for name in names(base)))


def whole(name: str, offered: dict[str, ast.ClassDef]) -> bool:
    """Whether a class is a model, not a part of one: it has terms, and gives data or p(x | z)."""
    found = methods(name, offered)
    return "terms" in found and bool(found & {"sample", "likelihood"})


def main(root: Path) -> None:
    texts = {path: path.read_text("utf-8") for path in sorted(root.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    offered = classes({path: tree for path, tree in trees.items() if "models" in path.relative_to(root).parts[:-1]})
    models = {name for name in offered if whole(name, offered)}
    asked = [
        found if "models" in path.relative_to(root).parts[:-1] else found - elsewhere(tree)
        for path, tree in trees.items()
        for found in questions(tree)
    ]
    print(f"questions for a class under models/   {sum(bool(found & offered.keys()) for found in asked)}")
    print(f"  of them for a whole model           {sum(bool(found & models) for found in asked)}")
    for name, count in Counter(name for found in asked for name in found & models).most_common():
        print(f"    {name:<34}{count}")
    print(f"classes called …Config                {sum(name.endswith('Config') for name in classes(trees))}")
    rooms = [path for path in root.iterdir() if (path / "__init__.py").exists()]
    print(f"folders of the package, its rooms     {len(rooms)}")
    print(f"modules beside them                   {len(list(root.glob('[a-z]*.py')))}")
    print(f"lines of src                          {sum(len(text.splitlines()) for text in texts.values())}")
    long = {path: count for path, text in texts.items() if (count := len(text.splitlines())) > LONG}
    print(f"files of more than {LONG} lines          {len(long)}")
    for path, count in long.items():
        print(f"    {path.relative_to(root)!s:<34}{count}")
    print("files that name")
    for kind, pattern in KINDS.items():
        knowing = [path for path, tree in trees.items() if any(re.fullmatch(pattern, name) for name in names(tree))]
        print(f"    {len(knowing):>3} {kind}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "src" / "vlb")
