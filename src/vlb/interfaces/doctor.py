"""`vlb.doctor`: whether vlb works on this machine, and what would make it work better."""

import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from vlb.base.errors import UserError
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Strong, Table
from vlb.coding import api as coding
from vlb.coding.options import CompressOptions
from vlb.data.cache import cache_folder
from vlb.data.sources import digits
from vlb.measure.evaluate import evaluate
from vlb.measure.options import EvaluateOptions

DEVELOPMENT = ("all", "test", "docs", "bench", "lint")  # extras that a user does not miss
SIDE, REPEATS = 512, 7  # of the products that are timed


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and where something is wrong, what to do."""

    what: str
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Diagnosis(Result):
    """What `vlb.doctor` returns. facts: of the machine; checks: what was tried, with a mend where it failed."""

    facts: tuple[Finding, ...]
    checks: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether everything that was tried works."""
        return not any(check.mend for check in self.checks)

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        found = {finding.what: finding.found for finding in (*self.facts, *self.checks)}
        return {**found, "healthy": self.healthy, "mend": [check.mend for check in self.checks if check.mend]}

    def table(self) -> Table:
        """The facts, then what was tried."""
        checks = tuple((c.what, Strong(f"{c.found}: {c.mend}") if c.mend else c.found) for c in self.checks)
        facts = tuple((fact.what, fact.found) for fact in self.facts)
        return Table("vlb on this machine", ("", ""), (facts, checks), numbers=False)


def doctor(*, progress: Progress = SILENT) -> Diagnosis:
    """Look at the machine and try what vlb stands on: the cache of data, a bound, a code and its inverse. Seconds."""
    progress.begin("looking at the machine")
    facts = tuple(_facts())
    checks = []
    for what, check in CHECKS.items():
        progress.begin(what)
        try:
            checks.append(Finding(what, check()))
        except (UserError, OSError, RuntimeError) as error:
            checks.append(Finding(what, "no", str(error).partition("\n")[0]))
    return Diagnosis(facts, tuple(checks))


def _facts() -> Iterator[Finding]:
    packages = ("vlb", "torch", "numpy", "constriction", "scikit-learn")
    yield Finding("versions", ", ".join(f"{name} {version(name)}" for name in packages))
    yield Finding("Python", f"{platform.python_version()} on {platform.platform()}")
    capability = torch.backends.cpu.get_cpu_capability()
    yield Finding("processor", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {capability}")
    if hasattr(os, "sysconf"):
        page = os.sysconf("SC_PAGE_SIZE")
        whole, free = (os.sysconf(f"SC_{name}PHYS_PAGES") * page / 2**30 for name in ("", "AV"))
        yield Finding("memory", f"{whole:.1f} GiB, {free:.1f} GiB free")
    cards = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    yield Finding("devices", ", ".join(["cpu", *cards]))
    yield Finding("bfloat16", _bfloat16())
    for extra, needed in _extras().items():
        lost = [name for name in needed if not _installed(name)]
        yield Finding(
            f"vlb[{extra}]", f"without {', '.join(lost)}: pip install 'vlb[{extra}]'" if lost else "installed"
        )


def _extras() -> dict[str, list[str]]:
    """The packages of each extra that a user may want, as vlb's own metadata have them."""
    found: dict[str, list[str]] = {}
    for requirement in requires("vlb") or []:
        if (match := re.fullmatch(r"([\w.-]+)[^;]*; *extra == ['\"]([\w-]+)['\"]", requirement)) is None:
            continue
        name, extra = match.groups()
        if extra not in DEVELOPMENT:
            found.setdefault(extra, []).append(name)
    return found


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _bfloat16() -> str:
    """By which factor a product of matrices is faster in bfloat16 than in float32, and what follows."""
    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(REPEATS):
        for dtype, found in seconds.items():
            matrix = torch.ones(SIDE, SIDE, dtype=dtype)
            began = time.perf_counter()
            matrix @ matrix
            found.append(time.perf_counter() - began)
    ratio = median(seconds[torch.float32]) / median(seconds[torch.bfloat16])
    if ratio >= 1:
        return f"{ratio:.1f} × as fast as float32 on the processor"
    return (
        f"{1 / ratio:.1f} × slower than float32 on the processor: --set precision=float32 where a recipe has bfloat16"
    )


def _cache() -> str:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write to {folder} ({error.strerror}): set VLB_DATA to a folder you can write"
        ) from error
    return f"{folder}, {shutil.disk_usage(folder).free / 2**30:.1f} GiB free"


def _bound() -> str:
    found = evaluate("vlb:digits", "test", EvaluateOptions(examples=16, passes=2))
    bits = found.values()["bits_per_dim"]
    if not 1 < bits < 3:
        raise UserError(f"{bits:.3f} bits/dim, which cannot be: please report it, with this table")
    return f"{bits:.2f} bits/dim of 16 digits"


def _code() -> str:
    """Coded and decoded, in files of their own."""
    with TemporaryDirectory(prefix="vlb-") as temporary:
        folder = Path(temporary)
        np.save(folder / "digits.npy", digits().test.x[:16])
        done = coding.compress("vlb:digits", [folder / "digits.npy"], folder / "a.vlb", CompressOptions(steps=4))
        coding.decompress(folder / "a.vlb", folder / "out", run="vlb:digits")
        same = (folder / "out" / "digits.npy").read_bytes() == (folder / "digits.npy").read_bytes()
        if not same:
            raise UserError("16 digits did not come back as they were: please report it, with this table")
        return f"16 digits in {done.summary.bytes_out:,} bytes, and back"


CHECKS: dict[str, Callable[[], str]] = {
    "the cache of data and runs": _cache,
    "a bound by a model that comes with vlb": _bound,
    "compression without loss": _code,
}
