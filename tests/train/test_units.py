"""Training losses are nats per dimension of what evaluation sums: the same model, examples and draws."""

import math

import numpy as np
import pytest
import torch

from tests.building import built
from vlb.core.condition import UNCONDITIONAL, Condition, Role
from vlb.core.schema import levels_schema
from vlb.core.terms import key
from vlb.data import Dataset, Split
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.mixture.config import Mixture
from vlb.models.mixture.loss import MixtureLoss
from vlb.models.vae.config import VAE
from vlb.models.vae.loss import ElboLoss
from vlb.nn.mlp import MLP
from vlb.store.training import Training
from vlb.training.trainer import Trainer

SHAPE = (2, 3)


def data() -> Dataset:
    x = np.random.default_rng(0).integers(0, 4, (60, *SHAPE)).astype(np.uint8)
    return Dataset("x", levels_schema(SHAPE, 4), *(Split(part) for part in np.split(x, (30, 45))))


@pytest.mark.parametrize(
    ("config", "loss"),
    [
        (Mixture(components=2, em_steps=2), MixtureLoss()),
        (VAE(latents=2), ElboLoss()),
        (Diffusion(backbone=MLP(width=8, blocks=1)), DiffusionLoss(decoder_share=1.0)),
    ],
    ids=["mixture", "vae", "diffusion"],
)
def test_losses_are_nats_per_dimension(config, loss) -> None:
    rows = data()
    model = built(config, rows).eval()
    x = torch.from_numpy(np.repeat(rows.train.x, 40, 0))
    with torch.no_grad():
        found, _ = loss.build(model).eval()(model, x, UNCONDITIONAL, torch.Generator().manual_seed(0), 0)
        exact = model.terms(x, UNCONDITIONAL, torch.Generator().manual_seed(0))
    for path, values in exact.items():
        expected, error = float(values.mean()), 6 * float(values.double().std()) / math.sqrt(len(x)) + 1e-5
        if not isinstance(config, Diffusion):
            error = 1e-5  # of the same draws
        assert math.prod(SHAPE) * float(found[key(path)]) == pytest.approx(expected, rel=1e-5, abs=2 * error)


def test_a_loss_is_read_per_element_that_is_modelled() -> None:
    model = built(Diffusion(backbone=MLP(width=8, blocks=1), roles=True), data())
    trainer = Trainer(model, DiffusionLoss().build(model), Training(steps=1), 0, torch.device("cpu"))
    role = torch.zeros(5, *SHAPE, dtype=torch.uint8)
    role[:, 1] = int(Role.ABSENT)
    role[0, 0, 1] = int(Role.KNOWN)
    assert trainer.modelled(UNCONDITIONAL) == 1
    assert trainer.modelled(Condition(role=role)) == pytest.approx(14 / 30)
    assert trainer.loss.read(0.3, 14 / 30) == pytest.approx(0.3 * 30 / 14 / math.log(2))
    assert trainer.loss.read(0.0, 0.0) == 0.0
