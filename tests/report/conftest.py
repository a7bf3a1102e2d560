"""A tiny trained run, and one conditioned on labels."""

from pathlib import Path

import pytest
import torch

from vlb.config import override
from vlb.data import Dataset, load
from vlb.experiment import Experiment
from vlb.recipes import recipe
from vlb.runs import Run
from vlb.train.loop import train

SETTINGS = (
    "training.steps=6",
    "validate_every=2",
    "log_every=2",
    "validation_examples=50",
    "training.batch=32",
    "backbone=MLPConfig",
    "backbone.width=16",
    "backbone.blocks=1",
)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


def tiny(path: Path, data: Dataset, *more: str) -> Run:
    experiment: Experiment = recipe("digits")
    for setting in (*SETTINGS, *more):
        experiment = override(experiment, setting)
    run = Run.create(path, experiment, data)
    assert train(experiment, data, run, device=torch.device("cpu"))
    return run


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Run:
    return tiny(tmp_path_factory.mktemp("plain") / "run", digits)


@pytest.fixture(scope="session")
def labelled_run(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Run:
    return tiny(tmp_path_factory.mktemp("labelled") / "run", digits, "condition=labels")
