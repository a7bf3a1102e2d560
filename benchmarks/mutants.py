"""Break the code in small ways, one at a time, and see whether the tests notice.

    python benchmarks/mutants.py --count 40 [--seed 0] [--rooms core models coding] [--workers 2] [--json FILE]

A mutant is a comparison turned round, a sign, an operator, a constant or a truth value changed in a copy of the
checkout; it is killed if a test file that imports its module fails. At most --files such files are run, those that
import the fewest other modules first, so that a survivor may be one that another file would kill: the score is from
below. Every survivor is printed with its line. Mutants are drawn evenly over places, a function of the seed.
"""

import argparse
import ast
import concurrent.futures
import copy
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
LIMIT = 300  # seconds for the tests of a mutant


@dataclass(frozen=True)
class Mutant:
    """A change: where, and from what to what."""

    module: str
    line: int
    before: str
    after: str


def places(tree: ast.AST) -> list[ast.AST]:
    """What can be changed, in order: no docstrings, annotations or `__post_init__` messages."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if part is not None:
                skipped |= {id(child) for child in ast.walk(part)}
        if isinstance(node, ast.Raise):
            skipped |= {id(child) for child in ast.walk(node)}
    return [node for node in ast.walk(tree) if id(node) not in skipped and changes(node)]


def changes(node: ast.AST) -> bool:
    """Whether there is another of its kind."""
    if isinstance(node, ast.Constant):
        return type(node.value) in (bool, int, float)
    if isinstance(node, ast.BinOp | ast.BoolOp):
        return type(node.op) in SWAPS
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in SWAPS
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not)


def change(node: ast.AST) -> ast.AST:
    """The node with another meaning."""
    found = copy.deepcopy(node)
    if isinstance(found, ast.Constant):
        found.value = not found.value if isinstance(found.value, bool) else found.value + 1
    elif isinstance(found, ast.BinOp | ast.BoolOp):
        found.op = SWAPS[type(found.op)]()
    elif isinstance(found, ast.Compare):
        found.ops[0] = SWAPS[type(found.ops[0])]()
    elif isinstance(found, ast.UnaryOp):
        return found.operand
    return found


class At(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """The new node for the old one."""
        return self.new if node is self.old else self.generic_visit(node)


def tests_of(module: str, most: int) -> list[str]:
    """Test files that import a module, the most special first."""
    name = re.compile(rf"\b{re.escape(module)}\b")
    package, _, last = module.rpartition(".")
    part = re.compile(rf"from {re.escape(package)} import [^\n]*\b{last}\b")
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        if name.search(text) or part.search(text):
            found.append((len(set(re.findall(r"\bvlb(?:\.\w+)+", text))), str(path.relative_to(ROOT))))
    return [path for _, path in sorted(found)[:most]]


def tried(path: Path, place: int, most: int) -> tuple[Mutant, str]:
    """A mutant, and what became of it: "killed", "survived" or "untested", for want of a test that imports it."""
    module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    tree = ast.parse(path.read_text())
    node = places(tree)[place]
    new = change(node)
    mutant = Mutant(module, node.lineno, ast.unparse(node), ast.unparse(new))
    files = tests_of(module, most)
    if not files:
        return mutant, "untested"
    with tempfile.TemporaryDirectory() as folder:
        copy_ = Path(folder) / "vlb"
        shutil.copytree(ROOT, copy_, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "_build", "__pycache__"))
        changed = ast.unparse(ast.fix_missing_locations(At(node, ast.copy_location(new, node)).visit(tree)))
        (copy_ / path.relative_to(ROOT)).write_text(changed)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *files]
        environment = os.environ | {"PYTHONPATH": str(copy_ / "src"), "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(command, cwd=copy_, env=environment, capture_output=True, timeout=LIMIT, check=False)
        except subprocess.TimeoutExpired:
            return mutant, "killed"  # an end that never comes is noticed, too
    return mutant, "survived" if done.returncode == 0 else "killed"


def main() -> None:
    """Draw, try and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rooms", nargs="+", default=["core", "models", "coding"])
    parser.add_argument("--files", type=int, default=3, help="test files per mutant, at most")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    modules = [path for room in options.rooms for path in sorted((ROOT / "src/vlb" / room).rglob("*.py"))]
    whole = [(path, place) for path in modules for place in range(len(places(ast.parse(path.read_text()))))]
    drawn = random.Random(options.seed).sample(whole, min(options.count, len(whole)))
    results = []
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        for mutant, outcome in pool.map(lambda one: tried(*one, options.files), drawn):
            results.append({**asdict(mutant), "outcome": outcome})
            print(f"{outcome:9s} {mutant.module}:{mutant.line}  {mutant.before}  →  {mutant.after}", flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False))
    count = {outcome: sum(r["outcome"] == outcome for r in results) for outcome in ("killed", "survived", "untested")}
    n = count["killed"] + count["survived"]
    share = count["killed"] / max(1, n)
    error = 1.96 * math.sqrt(share * (1 - share) / max(1, n))
    print(f"{count['killed']} of {n} killed: {share:.0%} ± {error:.0%} (95 %)")
    print(f"{count['untested']} without a test of their own; {len(whole)} places in all")


if __name__ == "__main__":
    main()
