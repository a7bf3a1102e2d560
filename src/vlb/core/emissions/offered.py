"""The likelihoods that a decoder offers, each a frozen configuration that refuses data it does not fit."""

from dataclasses import dataclass
from typing import Annotated

import torch

from vlb.base.configuration import Family
from vlb.base.domains import Settings, Within
from vlb.base.errors import UserError
from vlb.core.emissions.embedding import Centres
from vlb.core.emissions.modules import (
    MOST_LISTED,
    BernoulliEmission,
    CategoricalEmission,
    DiscretisedLogisticEmission,
    MixtureEmission,
)
from vlb.core.emissions.table import TableEmission
from vlb.core.schema import Schema


@dataclass(frozen=True, kw_only=True)
class BernoulliOutput:
    """Binary data; the untrained decoder gives the marginals."""

    def build(self, schema: Schema) -> BernoulliEmission:
        """The untrained emission. Raises `UserError` for data of other than two levels."""
        refuse_gaps(schema)
        other = next((count for count in schema.counts if count != 2), 2)
        return BernoulliEmission(other, torch.zeros(schema.dimensions))


@dataclass(frozen=True, kw_only=True)
class CategoricalOutput:
    """A logit per level; the untrained decoder gives the marginals."""

    def build(self, schema: Schema) -> CategoricalEmission:
        """The untrained emission. Raises `UserError` for data of too many levels."""
        refuse_gaps(schema)
        if schema.levels > MOST_LISTED:
            raise UserError(
                f"a categorical likelihood lists every level, too many at {schema.levels}: use "
                "likelihood=discretised-logistic"
            )
        return CategoricalEmission(torch.zeros(schema.laws, schema.levels), Centres.of(schema))


@dataclass(frozen=True, kw_only=True)
class DiscretisedLogisticOutput:
    """A logistic over the bins of any number of levels; the untrained decoder has the mean and spread of each pixel."""

    def build(self, schema: Schema) -> DiscretisedLogisticEmission:
        """The untrained emission."""
        refuse_gaps(schema)
        means, log_scales = torch.zeros(schema.dimensions), torch.zeros(schema.dimensions)
        return DiscretisedLogisticEmission(Centres.of(schema), means, log_scales)


@dataclass(frozen=True, kw_only=True)
class MixtureOutput(Settings):
    """A mixture of Gaussians over the bins of any number of levels, spread about the mean of each element."""

    components: Annotated[int, Within(1, 1000)] = 5

    def build(self, schema: Schema) -> MixtureEmission:
        """The untrained emission."""
        refuse_gaps(schema)
        zeros = torch.zeros(schema.dimensions)
        return MixtureEmission(Centres.of(schema), self.components, zeros, zeros)


@dataclass(frozen=True, kw_only=True)
class GaussianOutput:
    """A density; offered so that it can say why it does not fit data with levels."""

    def build(self, schema: Schema) -> MixtureEmission:
        """Raises `UserError`."""
        raise UserError(
            f"a Gaussian likelihood is a density, and these data have {schema.levels} discrete levels: use "
            "likelihood=categorical or discretised-logistic (in Python, "
            "`vlb.core.emissions.GaussianEmission` serves real data)"
        )


@dataclass(frozen=True, kw_only=True)
class ColumnsOutput(Settings):
    """Columns of a table of any kinds, with gaps: `components` Gaussians per real column, in mapped space, and a logit
    per value of the others; the untrained decoder gives the columns by themselves."""

    components: Annotated[int, Within(1, 1000)] = 1

    def build(self, schema: Schema) -> TableEmission:
        """The untrained emission. Raises `UserError` for what is no table."""
        return TableEmission(schema, self.components)


def refuse_gaps(schema: Schema) -> None:
    """Raises `UserError` for tables with gaps or real columns, of which columns alone are a likelihood."""
    if not schema.plain:
        raise UserError(
            "tables with gaps or real columns have a likelihood by column: use likelihood=columns, or leave it out"
        )


LIKELIHOODS = Family(
    "likelihood",
    {
        "bernoulli": BernoulliOutput,
        "categorical": CategoricalOutput,
        "discretised-logistic": DiscretisedLogisticOutput,
        "mixture": MixtureOutput,
        "gaussian": GaussianOutput,
        "columns": ColumnsOutput,
    },
)

AnyLikelihood = Annotated[
    BernoulliOutput | CategoricalOutput | DiscretisedLogisticOutput | MixtureOutput | GaussianOutput | ColumnsOutput,
    LIKELIHOODS,
]


def fitting(schema: Schema) -> ColumnsOutput | CategoricalOutput:
    """The likelihood that a schema asks for: of columns, where there are gaps or reals, else categorical."""
    return CategoricalOutput() if schema.plain else ColumnsOutput()
