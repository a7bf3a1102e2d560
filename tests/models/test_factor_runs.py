"""Factor mixtures as runs: what a user has who trains the recipe `table` on a file."""

from pathlib import Path

import numpy as np
import pytest
import torch

import vlb
from tests.models.test_factor import MIXED, fitted, table
from vlb.base.errors import UserError
from vlb.models.factor.config import FactorAnalysers


def written(path: Path, n: int = 60, scale: float = 1.0, seed: int = 0) -> Path:
    """A mixed table with gaps: a real, a rounded, a category."""
    generator = np.random.default_rng(seed)
    z = generator.normal(size=n)
    rows = ["income,age,colour"]
    for value, other, gap in zip(z, generator.normal(size=n), generator.random((n, 3)) < 0.15, strict=True):
        cells = (repr(float(scale * np.exp(value + 0.2 * other))), f"{40 + 9 * value:.0f}", "rb"[int(value > other)])
        rows.append(",".join("" if missing else cell for cell, missing in zip(cells, gap, strict=True)))
    path.write_text("\n".join(rows) + "\n")
    return path


def trained(file: Path, run: Path, **options) -> Path:
    vlb.train("table", vlb.TrainOptions(data=file, out=run, sets=("model.draws=2", "model.steps=10"), **options))
    return run
