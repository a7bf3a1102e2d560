"""Breast cancer, 30 % of cells hidden: imputation and bound of the VAE for tables beside the mixture's, one mask.

Cells are hidden where `numpy.random.default_rng(0).random(X.shape) <= .3`, columns standardised. RMSE: of the hidden
cells' means; nats: log p, of the VAE a bound below it, per cell that is there; conditional: the mean log p of the
hidden cells given the others, of the VAE the bound that its encoder's conditional model has, per hidden cell.
"""

import time

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer

from vlb.core.condition import Condition, Role
from vlb.estimators import Imputer, MixtureDensity, VAEDensity

PASSES = 8


def main() -> None:
    x = load_breast_cancer().data
    x = (x - x.mean(0)) / x.std(0)
    gone = np.random.default_rng(0).random(x.shape) <= 0.3
    table, cells = np.where(gone, np.nan, x), torch.from_numpy(x)
    role = torch.from_numpy(np.where(gone, Role.MODELLED, Role.KNOWN).astype(np.uint8))
    for density in (MixtureDensity(random_state=0), VAEDensity(random_state=0)):
        start = time.monotonic()
        imputer = Imputer(density).fit(table)
        fitted = time.monotonic()
        found = imputer.transform(table)
        seconds = fitted - start, time.monotonic() - fitted
        model, generator = imputer.estimator_.model_, torch.Generator().manual_seed(0)
        with torch.no_grad():
            terms = [
                float(sum(model.terms(cells, Condition(role=role), generator).values()).sum()) for _ in range(PASSES)
            ]
        rmse = float(np.sqrt(((found - x)[gone] ** 2).mean()))
        nats = imputer.estimator_.score_samples(table).sum() / (~gone).sum()
        print(
            f"{type(density).__name__}: rmse {rmse:.3f}, {nats:+.3f} nats, conditional "
            f"{-np.mean(terms) / gone.sum():+.3f}, fit {seconds[0]:.1f} s, fill {seconds[1]:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
