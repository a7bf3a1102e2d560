"""The heads that a diffusion model offers: what a backbone's output means."""

from typing import Annotated

from vlb.base.configuration import Family
from vlb.core.schema import Schema
from vlb.models.diffusion.denoiser import Denoiser, Mixture, Posterior, Regression
from vlb.models.diffusion.energy import Energy, EnergyDenoiser
from vlb.models.diffusion.process import Scaling
from vlb.nn.backbones import Backbone

HEADS = Family("head", {"posterior": Posterior, "mixture": Mixture, "regression": Regression, "energy": Energy})

AnyHead = Annotated[Posterior | Mixture | Regression | Energy, HEADS]


def build_denoiser(
    head: AnyHead, backbone: Backbone, schema: Schema, classes: int, scaling: Scaling
) -> Denoiser | EnergyDenoiser:
    """The denoiser of a head on a backbone; `classes` is the number of labels, 0 for none."""
    if isinstance(head, Energy):
        return EnergyDenoiser(backbone.build(schema.shape, 1, classes), scaling)
    made = head.build(schema)
    return Denoiser(backbone.build(schema.shape, made.outputs, classes), made, scaling)
