"""What the codec asks of every kind of model: levels, marginals, a copy to code with, a digest."""

import copy
import math
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from vlb.base.errors import UserError
from vlb.coding.cells import Uncodable
from vlb.coding.codes import data_code
from vlb.core.observation import Levels
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.ladder.model import LadderNetwork
from vlb.models.mixture.categorical import CategoricalMixture
from vlb.models.vae.model import VariationalHierarchy

CodedModel = DiffusionModel | VariationalHierarchy | CategoricalMixture
Model = TypeVar("Model", bound=nn.Module)


def checked(model: nn.Module) -> CodedModel:
    """The model, if it can code. Raises `UserError` with the reason if not."""
    if isinstance(model, LadderNetwork):
        raise UserError(LadderNetwork.without_likelihood)
    if not isinstance(model, DiffusionModel | VariationalHierarchy | CategoricalMixture):
        raise UserError(f"there is no code for a {type(model).__name__}: compression needs a model of discrete data")
    marginals(model)
    return model


@torch.no_grad()
def marginals(model: nn.Module) -> np.ndarray:
    """(D, K) weights: what the model says of each dimension by itself; uniform where it is silent.

    Raises `UserError` for a model of continuous data, whose density is no code.
    """
    if isinstance(model, DiffusionModel):
        return _at_the_top(model)
    if isinstance(model, CategoricalMixture):
        return data_code(model.marginals()).weights
    assert isinstance(model, VariationalHierarchy)
    likelihood = model.generator.likelihood
    like = next(model.parameters())
    silent = torch.zeros(1, *model.shape, likelihood.outputs, dtype=like.dtype, device=like.device)
    try:
        return data_code(likelihood.decode(silent)).weights
    except Uncodable as error:
        raise _continuous() from error


def _at_the_top(model: DiffusionModel) -> np.ndarray:
    """What the head says where z says nothing."""
    if not isinstance(model.observation, Levels):
        raise _continuous()
    like = torch.zeros(1, *model.shape, dtype=torch.float64, device=model.device)
    data = model.predict(like, torch.ones(1, dtype=torch.float64, device=model.device)).data
    if data is None:
        return np.ones((math.prod(model.shape), model.observation.count))
    return data_code(data).weights


def levels(model: CodedModel) -> int:
    """K."""
    return marginals(model).shape[1]


def prepared(model: Model) -> Model:
    """A copy in float64, where machines differ in the 16th digit instead of the 7th."""
    return copy.deepcopy(model).double().eval().requires_grad_(False)


def _continuous() -> UserError:
    return UserError("only models of discrete data compress: a density has no bits until a precision is chosen")
