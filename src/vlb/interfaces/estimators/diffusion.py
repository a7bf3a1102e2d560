"""`DiffusionDensity`: a variational diffusion model as a density estimator of scikit-learn."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlb.base.domains import Count, admit
from vlb.interfaces.estimators.density import told
from vlb.interfaces.estimators.trained import TrainedDensity
from vlb.models.diffusion.by_row import bound_by_row
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.denoiser import Table
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.methods import Method, method_of
from vlb.models.diffusion.schedules import LearnedPerDimension
from vlb.nn.mlp import MLP


class DiffusionDensity(TrainedDensity):
    """A density of tables with gaps: a variational diffusion model whose network is told which cells are modelled,
    known and absent. It is trained on a bound on log p of the cells that are there, and on those of some cells given
    others; NaN, and None in a DataFrame, is a gap.

        −log p(x_o) ≤ E[−log p(x_o | z_0)] + KL(q(z_1 | x_o) ‖ p(z_1)) + ½ ∫ γ′(t) E‖ε_o − ε̂_o‖² dt

    Columns and `schema` are as of `MixtureDensity`. width, blocks, dropout: of the network; components: Gaussians per
    real column in its head; steps, batch, learning_rate: of training, whose weights are those with the best bound on a
    tenth of the rows; draws: noise levels of each row, of the bounds that are stated. method: how gaps are filled,
    "conditional" (descents whose network is told the known cells), "twisted" or "smc" (weighted particles of the model
    of all cells together), with so many `particles` of each row in so many `descent` steps, None for the method's own.
    random_state: as of scikit-learn.

    The network has a law for every pattern of cells that are there: they are not the marginals of one joint.

    Fitted: `model_`, a `vlb.models.diffusion.rows.TableDiffusion`; `schema_`, what the columns hold; `bound_`, the mean
    over the rows of fit of the bound on log p, and its standard error over rows, nats. Raises `UserError` with advice,
    naming the column, for tables that cannot be modelled.
    """

    recipe = "table-diffusion"
    loss = DiffusionLoss(known_share=0.5)
    ema = 0.998
    clip = 1.0

    def __init__(
        self,
        *,
        width: int = 256,
        blocks: int = 3,
        dropout: float = 0.2,
        components: int = 3,
        steps: int = 2000,
        batch: int = 128,
        learning_rate: float = 1e-3,
        draws: int = 64,
        method: str = "conditional",
        particles: int | None = None,
        descent: int | None = None,
        schema: str | Path | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.width = width
        self.blocks = blocks
        self.dropout = dropout
        self.components = components
        self.steps = steps
        self.batch = batch
        self.learning_rate = learning_rate
        self.draws = draws
        self.method = method
        self.particles = particles
        self.descent = descent
        self.schema = schema
        self.random_state = random_state

    def _configuration(self) -> Diffusion:
        self._method()
        admit(Count, self.draws, "draws")
        return Diffusion(
            schedule=LearnedPerDimension(gamma_0=-8.0, gamma_1=5.0),
            backbone=MLP(width=self.width, blocks=self.blocks, dropout=self.dropout),
            head=Table(components=self.components),
            roles=True,
        )

    def _log_p(self, x: np.ndarray, known: np.ndarray) -> Tensor:
        return bound_by_row(self.model_, torch.from_numpy(x), told(known), 0, self.draws)

    def _method(self) -> Method:
        return method_of(self.method, self.particles, self.descent, "method")

    def _filling(self) -> Any:
        return self.model_.by(self._method())

    def _facts(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        what = f"log p is bounded from below, in expectation, by {self.draws} noise levels of each row"
        return what, (("numbers in the network", f"{sum(p.numel() for p in self.model_.parameters()):,}"),)
