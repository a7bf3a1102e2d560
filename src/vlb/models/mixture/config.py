"""The configuration of a mixture of product-categoricals."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from vlb.base.domains import Settings, Whole, Within
from vlb.base.errors import UserError
from vlb.core.condition import NOTHING
from vlb.core.emissions import Centres
from vlb.core.emissions.modules import MOST_LISTED
from vlb.core.schema import Schema
from vlb.models.mixture.categorical import CategoricalMixture
from vlb.models.mixture.loss import MixtureLoss


@dataclass(frozen=True, kw_only=True)
class Mixture(Settings):
    """A mixture with an exact log p. It starts from `em_steps` steps of EM, and training goes on by gradients.

    smoothing: observations of the marginals that are added to every component.
    """

    trained_by: ClassVar = MixtureLoss
    why_not: ClassVar = ""  # why it has no likelihood, where it has none
    shares_noise: ClassVar = False  # whether equal seeds give models of this kind equal noise

    components: Annotated[int, Within(1, 10**6)] = 20
    em_steps: Whole = 50
    smoothing: Annotated[float, Within(1e-6, 1e6)] = 20.0

    @property
    def takes(self) -> frozenset[str]:
        """The parts of a condition that it asks for."""
        return NOTHING

    def build(self, schema: Schema) -> CategoricalMixture:
        """The model before it is fitted."""
        if schema.levels > MOST_LISTED:
            raise UserError(f"a mixture of categoricals lists every level, too many at {schema.levels}: use a VAE")
        centres = Centres.of(schema)
        silent = centres.impossible().expand(schema.dimensions, -1).clone()
        return CategoricalMixture(silent, self.components, schema.shape, self.smoothing, self.em_steps, centres.each)
