"""The configuration of a variational autoencoder: a hierarchy of one level."""

import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from torch import nn

from vlb.base.checks import positive
from vlb.base.configuration import Family
from vlb.base.errors import UserError
from vlb.core.condition import NOTHING
from vlb.core.likelihoods import Likelihood
from vlb.core.schema import Schema
from vlb.models.vae.generative import MarkovGenerator
from vlb.models.vae.likelihood_config import CategoricalConfig, LikelihoodConfig
from vlb.models.vae.loss import ElboLoss
from vlb.models.vae.merge import Direct
from vlb.models.vae.model import TopDownVAE
from vlb.models.vae.prior_config import PriorConfig, StandardPriorConfig
from vlb.nn.coder import ConvDecoder, ConvEncoder, Dense, Single


@dataclass(frozen=True, kw_only=True)
class DenseCoderConfig:
    """Residual MLPs for encoder and decoder."""

    width: int = 256
    blocks: int = 1
    dropout: float = 0.1

    def build(self, schema: Schema, latents: int, outputs: int) -> tuple[nn.Module, nn.Module]:
        """Encoder to 2·latents numbers, and decoder."""
        positive("width", self.width)
        encoder = Dense(schema.dimensions, (2 * latents,), self.width, self.blocks, self.dropout)
        decoder = Dense(latents, (*schema.shape, outputs), self.width, self.blocks, self.dropout, scale=0.1)
        return encoder, decoder


@dataclass(frozen=True, kw_only=True)
class ConvCoderConfig:
    """Convolutions; one entry of `widths` per halving of the image."""

    widths: tuple[int, ...] = (32, 64)
    dropout: float = 0.1

    def build(self, schema: Schema, latents: int, outputs: int) -> tuple[nn.Module, nn.Module]:
        """Encoder to 2·latents numbers, and decoder."""
        if not self.widths or min(self.widths) < 1:
            raise UserError(f"widths need at least one positive entry, not {list(self.widths)}")
        images_of(schema, len(self.widths), "widths")
        encoder = ConvEncoder(schema.shape, 2 * latents, self.widths, self.dropout)
        return encoder, ConvDecoder(latents, schema.shape, outputs, self.widths)


CODERS = Family(
    "coder",
    {
        "dense": DenseCoderConfig,
        "convolutional": ConvCoderConfig,
    },
)

CoderConfig = Annotated[DenseCoderConfig | ConvCoderConfig, CODERS]


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """A VAE with `latents` Gaussian latents (Eq. 2.9)."""

    trained_by: ClassVar = ElboLoss

    latents: int = 16
    coder: CoderConfig = field(default_factory=DenseCoderConfig)
    likelihood: LikelihoodConfig = field(default_factory=CategoricalConfig)
    prior: PriorConfig = field(default_factory=StandardPriorConfig)

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        return NOTHING

    def build(self, schema: Schema) -> TopDownVAE:
        """The untrained model."""
        positive("latents", self.latents)
        likelihood = self.likelihood.build(schema)
        encoder, decoder = self.coder.build(schema, self.latents, outputs_of(likelihood))
        prior = self.prior.build(encoder, likelihood, schema)
        generator = MarkovGenerator([(self.latents,)], [], decoder, likelihood, prior)
        return TopDownVAE(generator, Single(encoder), [Direct(nn.Identity())], schema.shape)


def outputs_of(likelihood: nn.Module) -> int:
    """How many numbers per element a likelihood asks of its decoder."""
    typed: Likelihood = likelihood  # type: ignore[assignment]
    return typed.outputs


def images_of(schema: Schema, halvings: int, field_name: str) -> None:
    """Raises `UserError` unless the data are images that can be halved so often."""
    if len(schema.shape) != 3:
        raise UserError(f"convolutions need images (channels, height, width), not {schema.shape}: use dense networks")
    smallest = min(schema.shape[1:])
    if smallest < 2**halvings:
        most = int(math.log2(smallest))
        raise UserError(
            f"{halvings} halvings do not fit images of {schema.shape[1]}×{schema.shape[2]}: {field_name} may ask for "
            f"at most {most}"
        )
