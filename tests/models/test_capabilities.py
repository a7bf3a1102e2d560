"""Every kind of model × every capability: `require` hands the model on, or refuses in words that say what to do."""

import pytest
import torch

from tests.models.test_ladder import ladder
from vlb.base.errors import UserError
from vlb.core.schema import levels_schema
from vlb.measure.evaluation import Bounded
from vlb.measure.importance import Weighted
from vlb.measure.planning import planning
from vlb.models.diffusion.config import Diffusion
from vlb.models.factor.config import FactorAnalysers
from vlb.models.mixture.config import Mixture
from vlb.models.protocols import Classifying, Cooled, Denoising, Imputing, LikelihoodModel, Stepped, offers, require
from vlb.models.vae.config import HVAE, VAE

SCHEMA = levels_schema((1, 8, 8), 4)
MODELS = {
    "diffusion": lambda: Diffusion().build(SCHEMA),
    "diffusion on a grid": lambda: Diffusion().build(SCHEMA).at(3),
    "vae": lambda: VAE().build(SCHEMA),
    "bottom-up": lambda: HVAE(inference="bottom-up").build(SCHEMA),
    "mixture": lambda: Mixture().build(SCHEMA),
    "ladder": ladder,
    "factor": lambda: FactorAnalysers().build(levels_schema((3,), 4)),
}
CAN = {
    "diffusion": {LikelihoodModel},
    "diffusion on a grid": {Weighted, Stepped},
    "vae": {LikelihoodModel, Weighted, Cooled},
    "bottom-up": {LikelihoodModel, Weighted, Cooled},
    "mixture": {LikelihoodModel, Imputing},
    "factor": {LikelihoodModel, Imputing},
    "ladder": {Classifying, Denoising},
}


@pytest.mark.parametrize("capability", [LikelihoodModel, Weighted, Cooled, Stepped, Classifying, Denoising, Imputing])
@pytest.mark.parametrize("kind", MODELS)
def test_a_kind_has_a_capability_or_says_why_not(kind: str, capability: type) -> None:
    model = MODELS[kind]()
    assert offers(model, capability) == (capability in CAN[kind])
    if capability in CAN[kind]:
        assert require(model, capability, "this") is model
        return
    expected = "no likelihood" if kind == "ladder" else f"this, and this run holds a {type(model).__name__}"
    with pytest.raises(UserError, match=expected):
        require(model, capability, "this")


@pytest.mark.parametrize("kind", MODELS)
def test_draws_are_planned_of_bounds_in_continuous_time_alone(kind: str) -> None:
    ways = planning(MODELS[kind]())
    assert (ways is not None) == (kind == "diffusion")
    assert ways is None or ways.device == torch.device("cpu")
    assert hasattr(MODELS[kind](), "terms") == (kind != "ladder")


def test_what_is_evaluated_needs_a_bound_alone() -> None:
    bounded: Bounded = Diffusion().build(SCHEMA).at(3)
    assert not offers(bounded, LikelihoodModel)
