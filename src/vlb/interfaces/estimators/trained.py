"""Densities that are trained by gradients, step by step: what their estimators share."""

from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state
from torch import nn

from vlb.core.schema import Schema
from vlb.data import Dataset
from vlb.data.dataset import Split
from vlb.interfaces.estimators.density import TableDensity
from vlb.store.experiment import DataSource, Experiment, Training
from vlb.store.runs import Run
from vlb.training.loop import fit

HELD_OUT = 10  # one row in so many, from so many on, chooses the weights
SHARE = 16  # rows that weights may make of one, in the mean
OFTEN = 100  # steps between two looks at the rows held out


class TrainedDensity(TableDensity):
    """A density whose weights are those, of all that training came by, with the best bound on a tenth of the rows,
    which are held out. A kind says by which loss, `loss`; its parameters include `steps`, `batch` and
    `learning_rate`."""

    loss: ClassVar[Any]
    recipe: ClassVar[str]
    ema: ClassVar[float] = 0.99
    clip: ClassVar[float] = 5.0

    steps: int
    batch: int
    learning_rate: float

    def _trained(
        self, config: Any, schema: Schema, x: np.ndarray, observed: np.ndarray, weight: np.ndarray | None
    ) -> nn.Module:
        often = max(1, min(OFTEN, self.steps))
        training = Training(
            steps=self.steps, batch=self.batch, learning_rate=self.learning_rate, warmup=50, clip=self.clip,
            ema=self.ema, validate_every=often, checkpoint_every=max(1, self.steps),
        )  # fmt: skip
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        experiment = Experiment(
            recipe=self.recipe, data=DataSource(name="mixed-table"), model=config, loss=self.loss,
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
