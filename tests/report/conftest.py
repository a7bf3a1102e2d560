"""Tiny trained runs: of a diffusion model, one conditioned on labels, and of its predecessors."""

from pathlib import Path

import pytest
import torch

from vlb.base.configuration import override
from vlb.data import Dataset, load
from vlb.store.experiment import Experiment
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe

SHORT = ("training.steps=6", "validate_every=2", "log_every=2", "validation_examples=50", "training.batch=32")
SMALL = ("backbone=mlp", "backbone.width=16", "backbone.blocks=1")
PREDECESSORS = {
    "digits-mixture": ("components=3", "em_steps=2"),
    "digits-vae": ("coder.width=16",),
    "digits-hvae-bottom-up": ("model.width=16",),
    "digits-hvae-top-down": ("model.width=16",),
    "digits-ladder": (),
}


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


def tiny(path: Path, data: Dataset, name: str, *settings: str) -> Run:
    experiment: Experiment = recipe(name)
    for setting in (*SHORT, *settings):
        experiment = override(experiment, setting)
    run = Run.create(path, experiment, data)
    assert fit(experiment, data, run, device=torch.device("cpu"))
    return run


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Run:
    return tiny(tmp_path_factory.mktemp("plain") / "run", digits, "digits", *SMALL)


@pytest.fixture(scope="session")
def labelled_run(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Run:
    return tiny(tmp_path_factory.mktemp("labelled") / "run", digits, "digits", *SMALL, "condition=labels")


@pytest.fixture(scope="session")
def predecessors(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("predecessors")
    return {name: tiny(folder / name, digits, name, *settings) for name, settings in PREDECESSORS.items()}
