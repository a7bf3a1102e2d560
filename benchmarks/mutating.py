"""What `mutants.py` stands on: mutants of a module, and a pytest session that has collected the tests once and forks
for each of them.

Each function of the modules at hand says that it was reached, by a call that is put before its body as the module is
loaded. A mutant is then the function's code, exchanged in a fork.
"""

import ast
import builtins
import copy
import gc
import hashlib
import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
EACH = 8  # seconds of a processor that a test may take to be on the map
MEMORY = 4 << 30  # bytes that a mutant may take beyond what there is
WALL = 600  # seconds for the tests of a mutant, whatever they do


@dataclass(frozen=True)
class Mutant:
    """A change: where, the number of the place in the module, and from what to what."""

    module: str
    function: str
    line: int
    place: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}  {self.before}  →  {self.after}"

    def saying(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def said(cls, row: dict[str, Any]) -> "Mutant":
        """The inverse of `saying`."""
        return cls(*(row[name] for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Place:
    """A node that can be changed, the function at the outermost that it is in, and that function's qualified name."""

    node: ast.AST
    function: ast.FunctionDef | ast.AsyncFunctionDef
    name: str


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Those that are in no other, with their qualified names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, within + node.name
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{within}{node.name}.")
        else:
            yield from functions(node, within)


def places(tree: ast.AST) -> list[Place]:
    """What can be changed, in order: no annotations and nothing of errors that are raised."""
    found = []
    for function, name in functions(tree):
        for statement in function.body:
            skipped: set[int] = set()
            for node in ast.walk(statement):
                parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
                for part in [*parts, node if isinstance(node, ast.Raise) else None]:
                    skipped |= {id(child) for child in ast.walk(part)} if part is not None else set()
            found += [Place(n, function, name) for n in ast.walk(statement) if id(n) not in skipped and changes(n)]
    return found


def changes(node: ast.AST) -> bool:
    """Whether there is another of its kind."""
    if isinstance(node, ast.Constant):
        return type(node.value) in (bool, int, float)
    if isinstance(node, ast.BinOp | ast.BoolOp):
        return type(node.op) in SWAPS
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in SWAPS
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not)


def changed(node: ast.AST) -> ast.AST:
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


def named(path: Path, source: Path) -> str:
    """The name of a module."""
    return ".".join(path.relative_to(source).with_suffix("").parts)


def mutants_of(path: Path, source: Path) -> list[Mutant]:
    """All of a module."""
    found = []
    for number, place in enumerate(places(ast.parse(path.read_text()))):
        node: Any = place.node
        line = f"{ast.unparse(node)}"
        found.append(Mutant(named(path, source), place.name, node.lineno, number, line, ast.unparse(changed(node))))
    return found


def marked(tree: ast.Module, module: str) -> ast.Module:
    """A module whose functions say that they are reached."""
    for function, name in functions(tree):
        call = ast.parse(f"__reached__({f'{module}.{name}'!r})").body[0]
        first = function.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        for node in ast.walk(call):
            ast.copy_location(node, first)
        function.body.insert(int(documented), call)
    return tree


def code_of(module: CodeType, name: str, line: int) -> CodeType | None:
    """That of a function by its qualified name, at or after its first line with decorators."""
    inside = [module]
    while inside:
        code = inside.pop()
        if code.co_qualname == name and code.co_firstlineno == line:
            return code
        inside += [part for part in code.co_consts if isinstance(part, CodeType)]
    return None


@dataclass
class Watched:
    """A session of pytest that first finds which tests reach which functions, then tries mutants; it is a plugin.

    source, modules: which are changed; reached_by: the file of what reaches what, a line per test; seconds: of tests
    per mutant; tell: of what became of one, and by which test.
    """

    source: Path
    modules: list[Path]
    reached_by: Path
    wanted: list[Mutant]
    seconds: float
    tell: Callable[[Mutant, str, str], None]

    def run(self, tests: list[str]) -> None:
        """Collect `tests` and do it."""
        import pytest

        self.now: set[str] = set()
        builtins.__reached__ = self.now.add  # type: ignore[attr-defined]
        ours, load = {str(path): path for path in self.modules}, SourceFileLoader.get_code

        def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
            path = ours.get(loader.path)
            if path is None:
                return load(loader, name)
            return compile(marked(ast.parse(path.read_bytes()), named(path, self.source)), loader.path, "exec")

        SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
        pytest.main(["-q", "-p", "no:cacheprovider", "-m", "not slow", *tests], plugins=[self])

    def pytest_configure(self) -> None:
        """A failure of a property is enough: it is not made small, and not kept."""
        from hypothesis import Phase, settings

        settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), deadline=None, database=None)
        settings.load_profile("mutants")

    def pytest_runtestloop(self, session: Any) -> bool:
        """In place of running the tests."""
        self.items = {item.nodeid: item for item in session.items}
        self._find()
        known = self._map()
        live: dict[tuple[str, str], list[FunctionType]] = {}
        for function in gc.get_objects():
            if type(function) is FunctionType:
                live.setdefault((function.__code__.co_filename, function.__code__.co_qualname), []).append(function)
        for mutant in self.wanted:
            key = f"{mutant.module}.{mutant.function}"
            reaching = sorted((row for row in known if key in row["reached"]), key=lambda row: len(row["reached"]))
            chosen, left = [], self.seconds
            for row in reaching:
                if row["seconds"] <= left:
                    chosen.append(row)
                    left -= row["seconds"]
            if not chosen:
                self.tell(mutant, "unreached", "")
                continue
            files: dict[str, list[Any]] = {}
            for row in chosen:
                files.setdefault(row["test"].split("::")[0], []).append(self.items[row["test"]])
            ordered = [item for file in files.values() for item in file]
            killer = self._try(mutant, live, ordered, 20 + 4 * sum(row["seconds"] for row in chosen))
            self.tell(mutant, "killed" if killer else "survived", killer)
        return True

    def _digest(self) -> str:
        return hashlib.sha256(b"".join(path.read_bytes() for path in self.modules)).hexdigest()

    def _map(self) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.reached_by.read_text().splitlines()]
        if rows and any(row["sources"] != self._digest()[:16] for row in rows):
            raise SystemExit(f"{self.reached_by} is of other sources: give another file")
        return [{**row, "reached": set(row["reached"])} for row in rows if row["passed"] and row["test"] in self.items]

    def _find(self) -> None:
        """Run what is not on the map yet, in a fork, so that nothing of it stays here."""
        self.reached_by.touch()
        there = {json.loads(line)["test"] for line in self.reached_by.read_text().splitlines()}
        items = [item for name, item in self.items.items() if name not in there]
        sources = self._digest()[:16]

        def run() -> None:
            with self.reached_by.open("a") as stream:
                for item, after in zip(items, [*items[1:], None], strict=True):
                    self.now.clear()
                    began = time.process_time()
                    passed = self._passes(item, after, EACH)
                    row = {"test": item.nodeid, "seconds": round(time.process_time() - began, 3), "passed": passed}
                    stream.write(json.dumps({**row, "sources": sources, "reached": sorted(self.now)}) + "\n")
                    stream.flush()

        if items:
            forked(run, None)

    def _passes(self, item: Any, after: Any, limit: float = 0) -> bool:
        from _pytest.runner import runtestprotocol

        def over(*_: object) -> None:
            raise TimeoutError("this takes too long to be on the map")

        signal.signal(signal.SIGPROF, over)
        signal.setitimer(signal.ITIMER_PROF, limit)
        try:
            return all(report.outcome != "failed" for report in runtestprotocol(item, log=False, nextitem=after))
        except TimeoutError:
            return False
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _try(
        self, mutant: Mutant, live: dict[tuple[str, str], list[FunctionType]], items: list[Any], seconds: float
    ) -> str:
        """Which test kills it, if any."""
        path = self.source / Path(*mutant.module.split(".")).with_suffix(".py")
        if not path.exists():
            path = path.with_suffix("") / "__init__.py"
        tree = ast.parse(path.read_bytes())
        place = places(tree)[mutant.place]
        new = ast.copy_location(changed(place.node), place.node)
        tree = ast.fix_missing_locations(At(place.node, new).visit(marked(tree, mutant.module)))
        line = min([place.function.lineno, *(one.lineno for one in place.function.decorator_list)])
        code = code_of(compile(tree, str(path), "exec"), mutant.function, line)
        met = [f for f in live.get((str(path), mutant.function), []) if f.__code__.co_firstlineno == line]
        if code is None or not met:
            raise SystemExit(f"{mutant}: its function is nowhere")

        def run() -> str:
            most = int(seconds)
            resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5))
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            for function in met:
                function.__code__ = code
            for item, after in zip(items, [*items[1:], None], strict=True):
                if not self._passes(item, after):
                    return str(item.nodeid)
            return ""

        return forked(run, WALL)


def forked(call: Callable[[], str | None], limit: float | None) -> str:
    """What a call returns in a process of its own, or how that ended instead."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.setsid()
            os.write(writing, b"=" + (call() or "").encode())
        except BaseException as error:
            os.write(writing, f"={type(error).__name__}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    ready = select.select([reading], [], [], limit)[0]
    said = os.read(reading, 4096).decode() if ready else ""
    if not ready:
        os.killpg(process, signal.SIGKILL)
    os.close(reading)
    os.waitpid(process, 0)
    return said[1:] if said else "no end"
