"""What all tests run with: one thread, here and in the processes that they start, for the suite shares its machine and
its results do not depend on how many cores there are. These processes are many, so that vlb's own modules are compiled
once, whatever the shell says."""

import os
import sys
from collections.abc import Iterator

import pytest

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import torch  # noqa: E402

torch.set_num_threads(1)

FEW = {
    "coding.effort.MEASURED": 2,
    "coding.effort.OF_SMALL": 10,
    "coding.effort.PLACES": 10,
    "coding.effort.VALUES": 1,  # of 16 examples at least
    "measure.compare.LEVEL_EXAMPLES": 40,
    "measure.discretise.PLACING_EXAMPLES": 16,
    "measure.planning.PLANNING_EXAMPLES": 20,
    "measure.score.TRAINING_EXAMPLES": 40,
}


@pytest.fixture(scope="session", autouse=True)
def _measured_by_few() -> Iterator[None]:
    """Plans, rungs and levels are measured by few examples: what is best of them, tests ask of the functions
    themselves, with examples of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in FEW.items():
            patch.setattr(f"vlb.{name}", number)
        yield
