"""A small model of digits, trained for a moment, and codecs made of it."""

import numpy as np
import pytest

from vlb.base.configuration import override
from vlb.coding import models
from vlb.coding.diffusion import DiffusionSettings
from vlb.coding.sequence import Lanes
from vlb.data import Dataset, load
from vlb.models.diffusion.model import DiffusionModel
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe

TINY = (
    "steps=60", "batch=64", "backbone=mlp", "backbone.width=48", "backbone.blocks=1", "validate_every=30",
    "warmup=5", "learning_rate=0.003", "ema=0.9",
)  # fmt: skip

# Times of γ from −6 to 5, in 1/255.
PLACED = {1: (70, 170), 4: (36, 80, 120, 165, 255), 8: (36, 60, 80, 96, 108, 126, 144, 168, 255)}


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Run:
    experiment = recipe("digits")
    for assignment in TINY:
        experiment = override(experiment, assignment)
    run = Run.create(tmp_path_factory.mktemp("runs") / "tiny", experiment, digits)
    assert fit(experiment, digits, run)
    return run


@pytest.fixture(scope="session")
def model(tiny_run: Run, digits: Dataset) -> DiffusionModel:
    trained = tiny_run.model()
    assert isinstance(trained, DiffusionModel)
    return models.prepared(trained)


@pytest.fixture(scope="session")
def test_images(digits: Dataset) -> np.ndarray:
    return digits.test.x


def placed(steps: int, kernel: int = 2, lanes: int = 32, tries: int = 1) -> DiffusionSettings:
    return DiffusionSettings(kernel, PLACED[steps], lanes=Lanes(lanes, tries))
