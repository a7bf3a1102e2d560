"""The scripts behind docs/reliability.md at toy counts: they run, find nothing wrong, and would say so."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def found(script: str, folder: Path, *words: str) -> dict[str, Any]:
    """What a script wrote that ended well."""
    command = [sys.executable, BENCHMARKS / script, "--json", folder / "found.json", *words]
    subprocess.run(command, check=True, timeout=250, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return json.loads((folder / "found.json").read_text())


def test_damaged_files(tmp_path: Path) -> None:
    said = found(
        "fuzz_files.py", tmp_path, "--archives", "60", "--others", "30", "--kinds", "mixture", "--keep", str(tmp_path)
    )
    for title, count in (("archives", 60), ("others", 30)):
        sums = said[title]["sums"]
        assert said[title]["total"] == count == sum(sum(row.values()) for row in sums.values())
        assert sum(row["refused"] for row in sums.values()) > count / 2
        assert not any(row[bad] for row in sums.values() for bad in ("wrong", "crash", "hang", "memory"))


def test_killed_verbs(tmp_path: Path) -> None:
    said = found("kill_verbs.py", tmp_path, "--kills", "1", "--models", "mixture")
    assert said["kills"] >= 1 and said["lost"] == 0
    assert said["rows"]["in all"]["same"] >= 1  # a training that was killed and came to the same tensors
