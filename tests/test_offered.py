"""What is offered by name: one dataclass and one registry line make it known to files and the command line."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import torch
from torch import Tensor

from vlb.base.configuration import Family, decode, encode
from vlb.base.domains import Positive
from vlb.coding.diffusion import NUMBERED
from vlb.core.condition import NOTHING, UNCONDITIONAL, Condition
from vlb.core.emissions import Continuous
from vlb.data import load
from vlb.models.cascade.bands import BANDS
from vlb.models.diffusion.denoiser import Prediction
from vlb.models.diffusion.grids import GRIDS, Grid
from vlb.models.diffusion.heads import HEADS
from vlb.models.diffusion.kernels import KERNELS
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.parameterization import PARAMETERIZATIONS
from vlb.models.diffusion.process import SCALINGS, GaussianDiffusion
from vlb.models.diffusion.samplers import SAMPLERS
from vlb.models.diffusion.samplers.generate import generate
from vlb.models.diffusion.schedules import SCHEDULES, FixedSchedule
from vlb.models.diffusion.times import TIMES
from vlb.models.diffusion.weightings import WEIGHTINGS
from vlb.nn.backbones import BACKBONES
from vlb.nn.optimisers import OPTIMISERS
from vlb.nn.parallel import PARALLEL
from vlb.store.experiment import LOSSES, MODELS
from vlb.training.options import TrainOptions
from vlb.training.recipes import recipe
from vlb.training.verb import adjust

FAMILIES = (
    SCHEDULES, WEIGHTINGS, TIMES, KERNELS, SCALINGS, PARAMETERIZATIONS, HEADS, BACKBONES, SAMPLERS, GRIDS,
    LOSSES, MODELS, BANDS, OPTIMISERS, PARALLEL,
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.what)
def test_every_member_is_made_from_its_tag_and_read_back(family: Family) -> None:
    kind: Any = Annotated[Any, family]
    for tag, offered in family.offered.items():
        member = decode(kind, tag)
        assert type(member) is offered and family.tag(member) == tag
        assert decode(kind, encode(member, kind)) == member


def test_archives_number_kernels_in_one_order() -> None:
    assert [str(kernel) for kernel in NUMBERED] == ["standard", "moment", "mixture"]


@dataclass(frozen=True)
class Bent(FixedSchedule):
    """γ quadratic in t: γ₀ + (γ₁ − γ₀)(t + b t²)/(1 + b)."""

    bend: Positive = 0.5

    def gamma(self, t: Tensor) -> Tensor:
        t = t.double()
        share = (t + self.bend * t**2) / (1 + self.bend)
        return (self.gamma_0 + (self.gamma_1 - self.gamma_0) * share).unsqueeze(-1)

    def rate(self, t: Tensor) -> Tensor:
        slope = (1 + 2 * self.bend * t.double()) / (1 + self.bend)
        return ((self.gamma_1 - self.gamma_0) * slope).unsqueeze(-1)

    def inverse(self, gamma: Tensor) -> Tensor:
        share = (gamma.double() - self.gamma_0) / (self.gamma_1 - self.gamma_0) * (1 + self.bend)
        return 2 * share / (1 + (1 + 4 * self.bend * share).sqrt())


def test_a_schedule_is_offered_by_one_line() -> None:
    """A class and a line, as in CONTRIBUTING: named in files, fields and ends set by name, trained, sampled."""
    family = Family("noise schedule", {**SCHEDULES.offered, "bent": Bent})
    kind: Any = Annotated[Any, family]
    schedule = decode(kind, {"type": "bent", "gamma_0": -4, "bend": 1})
    assert schedule == Bent(-4.0, 5.0, 1.0) and encode(schedule, kind)["type"] == "bent"

    class Halving(torch.nn.Module):
        decodes, takes = False, NOTHING

        def forward(self, z: Tensor, gamma: Tensor, condition: Condition = UNCONDITIONAL) -> Prediction:
            return Prediction(z / 2, z / 2, None)

    model = DiffusionModel(GaussianDiffusion(schedule.build(2)), Halving(), Continuous(), (2,))
    generator = torch.Generator().manual_seed(0)
    for times in TIMES.offered.values():
        loss = DiffusionLoss(times=times()).build(model)
        x = torch.randn(8, 2, generator=generator, dtype=torch.float64)
        terms, sums = loss(model, x, UNCONDITIONAL, generator, 0)
        loss.learn(sums)
        assert all(bool(term.isfinite()) for term in terms.values())
    for grid in GRIDS.offered.values():
        made: Grid = grid().build(lambda: torch.ones_like)
        x = generate(model, SAMPLERS.offered["ddim"](), 3, made(schedule, 4), generator)
        assert x.shape == (3, 2) and bool(x.isfinite().all())


def test_parts_are_exchanged_by_name() -> None:
    """`--set` finds loss, weighting, times, output and its fields by the shortest name that is theirs alone."""
    words = [
        "schedule=cosine", "scaling=VE", "head=regression", "output=edm", "sigma_data=0.4", "weighting=sigmoid",
        "loss.weighting.shift=1.5", "times=adaptive", "bins=20",
    ]  # fmt: skip
    experiment = adjust(recipe("digits"), TrainOptions(overrides=tuple(words)), None)
    said = encode(experiment)
    assert said["model"]["schedule"]["type"] == "cosine" and said["model"]["schedule"]["gamma_0"] == -6.0
    assert said["model"]["scaling"] == {"type": "VE"}
    assert said["model"]["head"] == {"type": "regression", "output": {"type": "edm", "sigma_data": 0.4}}
    assert said["loss"] == {
        "type": "diffusion",
        "weighting": {"type": "sigmoid", "shift": 1.5},
        "times": {"type": "adaptive", "bins": 20, "decay": 0.99, "uniform_share": 0.05},
        "decoder_share": 0.125,
        "known_share": 0.0,
        "shape": 0.0,
    }
    assert decode(type(experiment), said) == experiment
    assert experiment.build_loss(experiment.build(load("digits"))).times.how.bins == 20
