"""`metrics.jsonl`: one JSON object per line, of what was logged at a step. It has no checksum, for people may read and
write it: what is no such line is passed over, and whoever reads the others need not look twice."""

import json
from typing import Any, TypeGuard

from vlb.base.domains import REALS, Whole, domain
from vlb.base.errors import UserError
from vlb.base.files import write_text
from vlb.store.runs import Run


def read_metrics(run: Run) -> list[dict[str, Any]]:
    """The lines that are whole: a `step`, numbers that fit a float, and texts; `validation`, where it is, holds figures
    of merit. Raises `UserError` for a file that cannot be read."""
    if not run.metrics.exists():
        return []
    try:
        texts = run.metrics.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"cannot read {run.metrics}: {error.strerror or error}") from error
    lines = []
    for text in texts:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if _whole(line):
            lines.append(line)
    return lines


def forget_metrics_after(run: Run, step: int) -> None:
    """Drop lines that a killed run wrote beyond its last checkpoint (a torn last line, too)."""
    kept = [line for line in read_metrics(run) if line["step"] <= step]
    write_text(run.metrics, "".join(json.dumps(line) + "\n" for line in kept))


def figures(value: Any) -> TypeGuard[dict[str, float]]:
    """Whether a JSON value is figures of merit: numbers by name, one at least, of which any may be no finite one."""
    return isinstance(value, dict) and bool(value) and all(_number(number) for number in value.values())


def _whole(line: Any) -> bool:
    if not isinstance(line, dict) or not _number(line.get("step")) or not figures(line.get("validation", {"": 0})):
        return False
    steps, step = domain(Whole), line["step"]
    assert steps is not None
    rest = (value for name, value in line.items() if name != "validation")
    return isinstance(step, int) and step in steps and all(isinstance(value, str) or _number(value) for value in rest)


def _number(value: Any) -> bool:
    """Whether it is a number that a float holds, NaN and the infinities among them."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and value in REALS)
