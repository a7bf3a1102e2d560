"""The configurations of variational autoencoders: of one rung, of a Markov hierarchy, of a residual one of images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from torch import nn

from vlb.base.domains import BelowOne, Depth, Settings, Width, Within
from vlb.base.errors import UserError
from vlb.core.condition import NOTHING
from vlb.core.emissions import Emission, TableEmission
from vlb.core.emissions.offered import AnyLikelihood, CategoricalOutput, fitting
from vlb.core.schema import Schema
from vlb.models.vae.generative import MarkovGenerator, ResidualGenerator, check_latents
from vlb.models.vae.loss import ElboLoss
from vlb.models.vae.merge import Direct, Joined, PrecisionWeighted, Relative
from vlb.models.vae.model import BottomUpVAE, TopDownVAE
from vlb.models.vae.prior import AnyPrior, Standard
from vlb.models.vae.reading import Partial, Reading, Whole
from vlb.models.vae.rows import TableVAE
from vlb.nn.coder import AnyCoder, Dense, DenseCoder, DenseFeatures, Single, halved, images_of
from vlb.nn.pyramid import Join, Output, Parameters, Pyramid, top_features


def read_by(likelihood: Emission, schema: Schema) -> Reading:
    """What an encoder sees of the examples of a schema."""
    return Partial(likelihood) if isinstance(likelihood, TableEmission) else Whole(likelihood, schema.shape)


def top_down(generator: MarkovGenerator, encoder: nn.Module, merges: Sequence[nn.Module], schema: Schema) -> TopDownVAE:
    """A hierarchy of the examples of a schema; some elements may be absent or known where its likelihood says so."""
    kind = TableVAE if generator.likelihood.takes else TopDownVAE
    return kind(generator, encoder, merges, schema.shape)


@dataclass(frozen=True, kw_only=True)
class VAE(Settings):
    """A VAE with `latents` Gaussian latents (Eq. 2.9). likelihood: None is that which the data ask for, by column of
    tables with gaps or real columns and categorical of others."""

    trained_by: ClassVar = ElboLoss
    why_not: ClassVar = ""  # why it has no likelihood, where it has none
    shares_noise: ClassVar = False  # whether equal seeds give models of this kind equal noise

    latents: Width = 16
    coder: AnyCoder = field(default_factory=DenseCoder)
    likelihood: AnyLikelihood | None = None
    prior: AnyPrior = field(default_factory=Standard)

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        return NOTHING

    def build(self, schema: Schema) -> TopDownVAE:
        """The untrained model."""
        likelihood = (self.likelihood or fitting(schema)).build(schema)
        reading = read_by(likelihood, schema)
        encoder, decoder = self.coder.build(reading.shape, self.latents, likelihood.output_shape(schema.shape))
        prior = self.prior.build(encoder, reading)
        generator = MarkovGenerator([(self.latents,)], [], decoder, likelihood, prior)
        return top_down(generator, Single(encoder), [Direct(nn.Identity())], schema)


@dataclass(frozen=True, kw_only=True)
class HVAE(Settings):
    """A Markov hierarchy of dense rungs; `latents` next to the data first. The generative network is the same for
    both directions of inference.

    merge: how top-down inference combines data and generative feedback; "precision" is the ladder VAE (Sønderby et
    al. 2016), "joined" a network of both, "relative" a change of p. Bottom-up inference merges nothing. likelihood:
    None is that which the data ask for, by column of tables with gaps or real columns and categorical of others.
    """

    trained_by: ClassVar = ElboLoss
    why_not: ClassVar = ""  # why it has no likelihood, where it has none
    shares_noise: ClassVar = False  # whether equal seeds give models of this kind equal noise

    latents: tuple[Width, ...] = (16, 16, 16)
    inference: Literal["top-down", "bottom-up"] = "top-down"
    merge: Literal["precision", "joined", "relative"] = "precision"
    width: Width = 256
    blocks: Depth = 1
    dropout: BelowOne = 0.1
    likelihood: AnyLikelihood | None = None

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        return NOTHING

    def build(self, schema: Schema) -> TopDownVAE | BottomUpVAE:
        """The untrained model. Raises `UserError` for tables with gaps that are to be inferred from the bottom up."""
        generator = self._generator(schema)
        reading = read_by(generator.likelihood, schema)
        if self.inference == "bottom-up":
            if generator.likelihood.takes:
                raise UserError(
                    "bottom-up inference is of complete examples, and rows of this table may have gaps: use "
                    "inference=top-down"
                )
            inputs = (schema.dimensions, *self.latents[:-1])
            return BottomUpVAE(
                generator, [self._dense(a, 2 * b) for a, b in zip(inputs, self.latents, strict=True)], schema.shape
            )
        encoder = DenseFeatures(math.prod(reading.shape), len(self.latents), self.width, self.blocks, self.dropout)
        merges: list[nn.Module] = [self._merge(above, own) for own, above in pairwise(self.latents)]
        merges.append(Direct(self._dense(self.width, 2 * self.latents[-1])))
        return top_down(generator, encoder, merges, schema)

    def _generator(self, schema: Schema) -> MarkovGenerator:
        likelihood = (self.likelihood or fitting(schema)).build(schema)
        check_latents([(count,) for count in self.latents])
        shape = likelihood.output_shape(schema.shape)
        decoder = Dense(self.latents[0], shape, self.width, self.blocks, self.dropout, scale=0.1)
        transitions = [self._dense(above, 2 * own) for own, above in pairwise(self.latents)]
        return MarkovGenerator([(count,) for count in self.latents], transitions, decoder, likelihood)

    def _merge(self, above: int, own: int) -> nn.Module:
        if self.merge == "precision":
            return PrecisionWeighted(self._dense(self.width, 2 * own))
        network = self._dense(self.width + above, 2 * own)
        return Joined(network) if self.merge == "joined" else Relative(network)

    def _dense(self, inputs: int, outputs: int) -> Dense:
        return Dense(inputs, (outputs,), self.width, self.blocks, self.dropout)


@dataclass(frozen=True, kw_only=True)
class ResidualHVAE(Settings):
    """A top-down hierarchy of images: each rung has `channels` latents per place, and p depends on all rungs above.

    halvings: of the image at each rung, next to the data first; never falling.
    """

    trained_by: ClassVar = ElboLoss
    why_not: ClassVar = ""  # why it has no likelihood, where it has none
    shares_noise: ClassVar = False  # whether equal seeds give models of this kind equal noise

    halvings: tuple[Annotated[int, Within(0, 16)], ...] = (1, 2, 3)
    channels: Width = 4
    width: Width = 48
    dropout: BelowOne = 0.1
    likelihood: AnyLikelihood = field(default_factory=CategoricalOutput)

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        return NOTHING

    def build(self, schema: Schema) -> TopDownVAE:
        """The untrained model: the independent-element one."""
        check_latents([(self.channels,) for _ in self.halvings])
        if list(self.halvings) != sorted(self.halvings):
            raise UserError(f"halvings never fall from the data up, unlike {list(self.halvings)}: sort them")
        images_of(schema.shape, self.halvings[-1], "halvings")
        likelihood = self.likelihood.build(schema)
        size = (schema.shape[1], schema.shape[2])
        below = [size, *(halved(size, times) for times in self.halvings[:-1])]
        generator = ResidualGenerator(
            top_features(schema.shape, self.halvings[-1], self.width),
            [Parameters(self.width, self.channels, self.width) for _ in self.halvings],
            [Join(self.channels, self.width, self.dropout, target) for target in below],
            Output(self.width, schema.shape[0], likelihood.output_shape(schema.shape)[-1]),
            likelihood,
        )
        encoder = Pyramid(schema.shape[0], self.halvings, self.width, self.dropout)
        merges = [Relative(Parameters(2 * self.width, self.channels, self.width)) for _ in self.halvings]
        return TopDownVAE(generator, encoder, merges, schema.shape)
