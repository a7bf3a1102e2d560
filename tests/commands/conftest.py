"""Plans, rungs and levels are measured by few examples: the commands are tried here, not what they choose."""

from collections.abc import Iterator

import pytest

FEW = {
    "coding.effort.VALUES": 1,  # of 16 examples at least
    "measure.compare.LEVEL_EXAMPLES": 40,
    "measure.discretise.PLACING_EXAMPLES": 16,
    "measure.planning.PLANNING_EXAMPLES": 20,
    "measure.score.TRAINING_EXAMPLES": 40,
}


@pytest.fixture(scope="package", autouse=True)
def _measured_by_few() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, number in FEW.items():
            patch.setattr(f"vlb.{name}", number)
        yield
