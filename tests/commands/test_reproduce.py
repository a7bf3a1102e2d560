"""The command line that a report gives makes the very same experiment."""

import dataclasses
import shlex
from pathlib import Path

import pytest

from vlb.base.configuration import override
from vlb.pages.reproduce import changes, making_command
from vlb.store.experiment import Experiment
from vlb.training.options import TrainOptions
from vlb.training.recipes import RECIPES, recipe
from vlb.training.verb import adjust


def rebuilt(command: str) -> Experiment:
    words = shlex.split(command)
    assert words[:2] == ["vlb", "train"]
    header = "--no-header" not in words
    words = [word for word in words if word != "--no-header"]
    options = list(zip(words[3::2], words[4::2], strict=True))
    found = dict(options)
    data, seed = found.get("--data"), found.get("--seed")
    return adjust(
        recipe(words[2]),
        TrainOptions(
            found.get("--condition"),
            int(seed) if seed else None,
            tuple(value for name, value in options if name == "--set"),
            header,
        ),
        Path(data) if data else None,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_its_own_command(name: str) -> None:
    assert changes(recipe(name)) == {}
    assert making_command(recipe(name), Path("out dir")) == f"vlb train {name} --out 'out dir'"


@pytest.mark.parametrize(
    "settings",
    [
        ("training.steps=7", "model.backbone=mlp", "backbone.width=3", "seed=4", "condition=labels"),
        ("model.backbone=unet", "backbone.widths=[8, 16]", "backbone.attention=[false, true]"),
        ("head=regression", "head.output=eps", "schedule=cosine", "schedule.gamma_0=-9"),
        ('data.path="it\'s; 12"', "training.betas=[0.8, 0.9]"),
        ("data.path=\"12\"",),
    ],
)  # fmt: skip
def test_what_was_changed_is_in_the_command(settings: tuple[str, ...]) -> None:
    experiment = recipe("digits")
    for setting in settings:
        experiment = override(experiment, setting)
    assert rebuilt(making_command(experiment, Path("run"))) == experiment


@pytest.mark.parametrize(("name", "header"), [("images", True), ("discrete-table", True), ("discrete-table", False)])
def test_own_data_are_named(name: str, header: bool, tmp_path: Path) -> None:
    options = TrainOptions(overrides=("training.steps=3",), header=header)
    experiment = adjust(recipe(name), options, tmp_path / "my own")
    assert "--set data" not in making_command(experiment, Path("run"))
    assert rebuilt(making_command(experiment, Path("run"))) == experiment


def test_an_unknown_recipe_has_no_known_changes() -> None:
    assert changes(dataclasses.replace(recipe("digits"), recipe="lost")) is None
