"""Configurations survive JSON, and overrides fit or say why not."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.base.configuration import decode, encode, override
from vlb.base.errors import UserError
from vlb.models.diffusion.schedules import EDM
from vlb.nn.mlp import MLP
from vlb.nn.unet import UNet
from vlb.store.experiment import Experiment
from vlb.training.recipes import RECIPES, recipe


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json(name: str) -> None:
    experiment = recipe(name)
    assert decode(Experiment, json.loads(json.dumps(encode(experiment)))) == experiment


def test_override_by_path_and_by_unique_name() -> None:
    assert override(recipe("digits"), "training.steps=7").training.steps == 7
    assert override(recipe("digits"), "steps=7").training.steps == 7
    assert override(recipe("digits"), "learning_rate=1").training.learning_rate == 1.0


def test_override_replaces_a_nested_choice() -> None:
    changed = override(recipe("digits"), "model.backbone=unet")
    assert changed.model.backbone == UNet()
    assert override(changed, "widths=[8, 16]").model.backbone.widths == (8, 16)
    assert override(changed, "backbone=mlp").model.backbone == MLP()


def test_a_schedule_chosen_by_name_keeps_its_ends() -> None:
    """The ends of the digits recipe are not the default; a shape of another kind has nothing of the old one's."""
    schedule = override(recipe("digits"), "schedule=edm").model.schedule
    assert schedule == EDM(gamma_0=-6.0, gamma_1=5.0)
    moved = override(override(recipe("digits"), "schedule=edm"), "schedule.mean=1")
    assert override(moved, "schedule=log-snr-linear") == recipe("digits")
    assert override(recipe("digits"), 'schedule={"type": "edm"}').model.schedule == EDM()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stepz=3", "did you mean 'steps'"),
        ("training.step=3", "did you mean 'training.steps'"),
        ("steps", "field=value"),
        ("steps=many", "a whole number"),
        ("steps=1.5", "a whole number"),
        ("steps=-1", "training.steps: expected a whole number from 0 to 1,000,000,000, not -1"),
        ("ema=2", "at least 0 and below 1, not 2"),
        ("learning_rate=NaN", "above 0 and at most 100, not nan"),
        ("backbone=Transformer", "choose one of: mlp, set-attention, unet"),
        ("precision=float8", "not offered"),
        ("betas=[0.9]", "two numbers"),
        ("seed=-1", "from 0"),
        (f"seed={10**30}", "from 0 to 9,223,372,036,854,775,807, not 1"),
        (f"learning_rate={10**400}", "bits"),
        (f"steps={'9' * 5000}", "a whole number"),
        ("betas=" + 2000 * "[", "a list"),
    ],
)
def test_override_says_what_is_wrong(assignment: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        override(recipe("digits"), assignment)


@pytest.mark.parametrize("name", RECIPES)
def test_names_are_offered_once_and_serve(name: str) -> None:
    """Of a field that there is not, all names are said; each is one, and is understood as it stands."""
    with pytest.raises(UserError, match="choose one of: ") as refused:
        override(recipe(name), "@@@@=3")
    offered = str(refused.value).partition("choose one of: ")[2].split(", ")
    assert len(offered) == len(set(offered))
    for one in offered:
        try:
            override(recipe(name), f"{one}={{}}")
        except UserError as error:
            assert "ambiguous" not in str(error) and "no field" not in str(error)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(["recipe", "data", "model", "training", "seed", "type", "x"]), json_values))
def test_decoding_anything_gives_an_experiment_or_a_message(value: dict[str, object]) -> None:
    try:
        result = decode(Experiment, {"recipe": "digits"} | value)
    except UserError:
        return
    assert isinstance(result, Experiment)
