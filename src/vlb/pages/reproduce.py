"""The command line that makes a run again: its recipe and what differs from it."""

import json
import shlex
from pathlib import Path
from typing import Any

from vlb.base.configuration import encode
from vlb.base.errors import UserError
from vlb.data.sources import OWN
from vlb.store.experiment import Experiment
from vlb.training.recipes import recipe


def changes(experiment: Experiment) -> dict[str, Any] | None:
    """Field paths and JSON values that differ from the experiment's recipe; None if there is no such recipe.

    A nested configuration of another class is one change, with all of its fields as the value.
    """
    try:
        base = recipe(experiment.recipe)
    except UserError:
        return None
    return dict(_differences(encode(base), encode(experiment), ""))


def making_command(experiment: Experiment, out: Path) -> str:
    """`vlb train …` for a POSIX shell, or `vlb import …`, with which `out` could be made again."""
    if experiment.imported is not None:
        source = experiment.data.path or "PICTURES"
        return shlex.join(["vlb", "import", experiment.imported, "--data", source, "--out", str(out)])
    words = ["vlb", "train", experiment.recipe, "--out", str(out)]
    for path, value in (changes(experiment) or {}).items():
        if path == "data.path" and isinstance(value, str) and experiment.data.name in OWN:
            words += ["--data", value]
        elif path == "data.header":
            words += ["--no-header"]
        elif path == "data.schema" and isinstance(value, str):
            words += ["--schema", value]
        elif path == "data.leave_out":
            words += ["--leave-out", *value]
        elif path == "condition":
            words += ["--condition", value]
        elif path == "seed":
            words += ["--seed", str(value)]
        else:
            words += ["--set", f"{path}={_written(value)}"]
    return shlex.join(words)


def _differences(base: dict[str, Any], other: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in other.items():
        old = base[name]
        if isinstance(value, dict) and isinstance(old, dict) and value.get("type") == old.get("type"):
            found += _differences(old, value, f"{prefix}{name}.")
        elif value != old:
            found.append((prefix + name, value))
    return found


def _written(value: Any) -> str:
    """A value as `vlb.base.configuration.override` reads it: plain text stays plain unless it would be read as JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except json.JSONDecodeError:
            return value
    return json.dumps(value)
