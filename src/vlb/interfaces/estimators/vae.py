"""`VAEDensity`: a variational autoencoder as a density estimator of scikit-learn."""

from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from vlb.core.emissions.offered import ColumnsOutput
from vlb.core.schema import Schema
from vlb.data import Dataset
from vlb.data.dataset import Split
from vlb.interfaces.estimators.density import TableDensity, told
from vlb.models.vae.config import VAE
from vlb.models.vae.loss import ElboLoss
from vlb.nn.coder import DenseCoder
from vlb.store.experiment import DataSource, Experiment, Training
from vlb.store.runs import Run
from vlb.training.loop import fit

HELD_OUT = 10  # one row in so many, from so many on, chooses the weights
SHARE = 16  # rows that weights may make of one, in the mean


class VAEDensity(TableDensity):
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

    def _trained(
        self, config: Any, schema: Schema, x: np.ndarray, observed: np.ndarray, weight: np.ndarray | None
    ) -> nn.Module:
        training = Training(
            steps=self.steps, batch=self.batch, learning_rate=self.learning_rate, warmup=50, clip=5.0,
            validate_every=max(1, min(100, self.steps)), checkpoint_every=max(1, self.steps),
        )  # fmt: skip
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        experiment = Experiment(
            recipe="table-vae", data=DataSource(name="mixed-table"), model=config, loss=ElboLoss(given=0.5),
            training=training, seed=seed,
        )  # fmt: skip
        order = np.random.default_rng(seed).permutation(len(x))
        held = len(x) // HELD_OUT
        places = [order[held:], order[:held] if held else order]
        if weight is not None:
            places = [drawn(part, weight[part]) for part in places]
        numbers = x.astype(schema.dtype)
        train, validation = (Split(numbers[part], observed=observed[part]) for part in places)
        data = Dataset("the table", schema, train, validation, validation)
        with TemporaryDirectory() as folder:
            run = Run.create(Path(folder) / "run", experiment, data)
            fit(experiment, data, run)
            # In float64 a row has the same bound to many digits, whatever rows are evaluated beside it.
            return run.trained.build().double()

    def _log_p(self, x: np.ndarray, known: np.ndarray) -> Tensor:
        bound: Tensor = self.model_.importance_weighted(torch.from_numpy(x), told(known), 0, self.draws)
        return bound

    def _facts(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        what = f"log p is bounded from below, in expectation, by {self.draws} draws of the latents"
        return what, (("latents", str(self.latents)),)


def drawn(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Rows in proportion to their weights, each as often as its share of so many says, rounded up or down (systematic
    resampling): whole weights make whole copies, up to `SHARE` rows for one. Rows as they are where none weighs."""
    if not weight.sum() > 0:
        return rows
    least = weight[weight > 0].min()
    count = min(ceil(weight.sum() / least), SHARE * len(rows))
    ends = np.cumsum(weight) / weight.sum() * count
    copies = np.diff(np.floor(np.concatenate(([0.0], ends)) + 0.5)).astype(int)
    return np.repeat(rows, copies)
