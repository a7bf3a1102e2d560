"""`VAEDensity`: a variational autoencoder as a density estimator of scikit-learn."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlb.core.emissions.offered import ColumnsOutput
from vlb.interfaces.estimators.density import told
from vlb.interfaces.estimators.trained import TrainedDensity
from vlb.models.vae.config import VAE
from vlb.models.vae.loss import ElboLoss
from vlb.nn.coder import DenseCoder


class VAEDensity(TrainedDensity):
    """A density of tables with gaps: a variational autoencoder whose encoder is told which cells are there. It is
    trained on a bound on log p of the cells that are there; NaN, and None in a DataFrame, is a gap.

        log p(x_o) ≥ log (1/S) Σ_s p(x_o | z_s) p(z_s) / q(z_s | x_o),   z_s ~ q(z | x_o), in expectation

    Columns and `schema` are as of `MixtureDensity`. latents: how many; width, dropout: of the networks; components:
    Gaussians per real column, given z; steps, batch, learning_rate: of training, whose weights are those with the best
    bound on a tenth of the rows; draws: S, of the bounds that are stated. random_state: as of scikit-learn.

    Fitted: `model_`, a `vlb.models.vae.rows.TableVAE`; `schema_`, what the columns hold; `bound_`, the mean over the
    rows of fit of the bound on log p, and its standard error over rows, nats. Raises `UserError` with advice, naming
    the column, for tables that cannot be modelled.
    """

    recipe = "table-vae"
    loss = ElboLoss(given=0.5)

    def __init__(
        self,
        *,
        latents: int = 16,
        width: int = 128,
        dropout: float = 0.3,
        components: int = 1,
        steps: int = 3000,
        batch: int = 64,
        learning_rate: float = 2e-3,
        draws: int = 128,
        schema: str | Path | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.latents = latents
        self.width = width
        self.dropout = dropout
        self.components = components
        self.steps = steps
        self.batch = batch
        self.learning_rate = learning_rate
        self.draws = draws
        self.schema = schema
        self.random_state = random_state

    def _configuration(self) -> VAE:
        coder = DenseCoder(width=self.width, dropout=self.dropout)
        return VAE(latents=self.latents, coder=coder, likelihood=ColumnsOutput(components=self.components))

    def _log_p(self, x: np.ndarray, known: np.ndarray) -> Tensor:
        bound: Tensor = self.model_.importance_weighted(torch.from_numpy(x), told(known), 0, self.draws)
        return bound

    def _facts(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        what = f"log p is bounded from below, in expectation, by {self.draws} draws of the latents"
        return what, (("latents", str(self.latents)),)
