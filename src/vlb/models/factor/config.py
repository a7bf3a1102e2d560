"""The configuration of a mixture of factor analysers."""

from dataclasses import dataclass
from typing import ClassVar

from vlb.core.condition import NOTHING
from vlb.core.schema import Schema
from vlb.models.factor.fitting import Fit
from vlb.models.factor.loss import FactorLoss
from vlb.models.factor.model import FactorMixture


@dataclass(frozen=True, kw_only=True)
class FactorAnalysers(Fit):
    """A mixture for tables with gaps: reals, rounded reals and categories. EM fits it in seconds, without training; for
    its fields see `Fit`."""

    trained_by: ClassVar = FactorLoss
    why_not: ClassVar = ""  # why it has no likelihood, where it has none
    shares_noise: ClassVar = False  # whether equal seeds give models of this kind equal noise

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks of data."""
        return NOTHING

    def build(self, schema: Schema) -> FactorMixture:
        """The model before it is fitted. Raises `UserError` for a schema that is of no table."""
        return FactorMixture(schema, self)
