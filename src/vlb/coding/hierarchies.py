"""A VAE of any depth as a code: spacings of its latents, lanes – and the codec made of them.

Bottom-up inference is Markov and climbs (Bit-Swap order), top-down inference descends. A grid is as fine as
the narrow posteriors of its rung, measured: latents wider than that cost bits to begin with and no others.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from vlb.base.errors import UserError
from vlb.coding.bitsback import BatchCodec, Climbing, Descending, Grid
from vlb.coding.cells import Rows, Uncodable
from vlb.coding.codes import data_code
from vlb.coding.models import Coded, Measuring, chosen_settings, coded_by, continuous, marginals
from vlb.coding.sequence import USUAL_LANES, Lanes, SequenceCodec
from vlb.coding.wire import Damaged, Reader, Writer
from vlb.core.distributions import Normal
from vlb.core.hierarchy import Climbable, descend, from_prior
from vlb.measure.evaluation import Bounded
from vlb.models.vae.model import VariationalHierarchy
from vlb.models.vae.rows import TableVAE

FINEST, MAX_LEVELS = 24, 256
UNIT = 0.5  # δ, at most, in units of a narrow posterior's deviation
NARROW = 0.05  # the quantile of deviations that counts as narrow


@dataclass(frozen=True)
class HierarchySettings:
    """halvings: δ = 2^−h of each rung, rung 0 first; lanes: how examples are batched."""

    latent: ClassVar = True
    any_depth: ClassVar = False
    gaps: ClassVar = False
    usual: ClassVar = USUAL_LANES

    halvings: tuple[int, ...]
    lanes: Lanes = USUAL_LANES
    passes: ClassVar = 1

    def write(self, writer: Writer) -> None:
        """As part of a header."""
        self.lanes.write(writer.numbers(self.halvings))

    @classmethod
    def read(cls, reader: Reader) -> "HierarchySettings":
        """The inverse of `write`. Raises `Damaged` for settings that make no sense."""
        halvings, lanes = reader.numbers(MAX_LEVELS, FINEST), Lanes.read(reader)
        if not halvings:
            raise Damaged("no rungs")
        return cls(halvings, lanes)

    def codec(self, model: Coded) -> SequenceCodec:
        """The codec of a prepared model. Raises `Uncodable` where there can be none."""
        if coded_by(model) is not HierarchySettings or model.depth != len(self.halvings):
            raise Uncodable(f"{len(self.halvings)} spacings for a {type(model).__name__}")
        shapes = latent_shapes(model)
        grids = [Grid(2.0**-halvings, shape) for halvings, shape in zip(self.halvings, shapes, strict=True)]
        device = next(model.parameters()).device
        order: BatchCodec
        shape = model.shape
        if isinstance(model, Climbable):
            order = Climbing(model, grids, shape, device)
        else:
            order = Descending(model, model.infer, model.start, grids, model.shape, device)
        return SequenceCodec(order, marginals(model), model.shape, self.lanes)

    def bounded(self, model: Coded) -> Bounded:
        """The model itself."""
        bounded: Bounded = model
        return bounded

    def describe(self) -> dict[str, str]:
        """For people."""
        return {"spacing of latents": ", ".join(f"2^-{halvings}" for halvings in self.halvings)}


@torch.no_grad()
def latent_shapes(model: VariationalHierarchy) -> list[tuple[int, ...]]:
    """The shape of each rung's latents, rung 0 first."""
    steps = list(descend(model, model.start(1), from_prior(torch.Generator().manual_seed(0))))
    return [tuple(step.z.shape[1:]) for step in reversed(steps)]


@torch.no_grad()
def measured(model: VariationalHierarchy, x: torch.Tensor, lanes: Lanes, unit: float = UNIT) -> HierarchySettings:
    """Spacings for the posteriors of examples x (n, *shape). Raises `Uncodable` for a q that is not Gaussian."""
    halvings = []
    for rung in model.inferred(x, torch.Generator().manual_seed(0)):
        if not isinstance(rung.q, Normal):
            raise Uncodable(f"latents are drawn from Gaussians, not from a {type(rung.q).__name__}")
        narrow = torch.quantile((0.5 * rung.q.log_variance.double()).flatten()[: 1 << 20], NARROW).item()
        halvings.append(min(max(math.ceil(-math.log2(unit) - narrow / math.log(2)), 0), FINEST))
    return HierarchySettings(tuple(halvings), lanes)


@coded_by.register
def _(model: VariationalHierarchy) -> type[HierarchySettings]:
    return HierarchySettings


@coded_by.register
def _(model: TableVAE) -> type[HierarchySettings]:
    raise UserError(
        "a VAE of a table with gaps has no code: its laws by column are of floating-point numbers, which machines "
        "round differently. Train on the table by `vlb train discrete-table --data FILE`, which takes every text in a "
        "column for a value of its own, at most 1024 of them, and compress with that run"
    )


@marginals.register
@torch.no_grad()
def _(model: VariationalHierarchy) -> Rows:
    likelihood, like = model.generator.likelihood, next(model.parameters())
    silent = torch.zeros(1, *likelihood.output_shape(model.shape), dtype=like.dtype, device=like.device)
    try:
        return data_code(likelihood.law(silent))
    except Uncodable as error:
        raise continuous() from error


@chosen_settings.register
def _(model: VariationalHierarchy, by: Measuring, steps: int, lanes: Lanes) -> HierarchySettings:
    found = by.examples()
    x = None if found is None else found[0]
    if x is None or not len(x):
        x = model.sample(64, generator=torch.Generator().manual_seed(0))
    return measured(model, x[:256], lanes)
