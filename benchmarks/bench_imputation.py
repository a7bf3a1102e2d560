"""Imputation of breast cancer, 30 % of cells hidden: the factor mixture, column mean, kNN and IterativeImputer."""

import time

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from vlb.core.condition import Condition
from vlb.core.schema import Real, Schema, Vector
from vlb.models.factor.config import FactorAnalysers


def hidden(x: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(x.shape) <= 0.3


def mixture(x: np.ndarray, gone: np.ndarray) -> str:
    start = time.monotonic()
    model = FactorAnalysers().build(Schema(layout=Vector((x.shape[1],)), kinds=Real()))
    cells, known = torch.from_numpy(x), torch.from_numpy(~gone)
    model.fit(torch.where(known, cells, 0.0), known, None, torch.Generator().manual_seed(0))
    law = model.conditional(cells, known)
    mean = law.mean().numpy()
    seconds = time.monotonic() - start
    nats = float(model.log_prob(cells, Condition(role=known.to(torch.uint8))).sum()) / gone.sum()
    covered = []
    for level in (0.5, 0.9):
        low, high = (law.quantile(p).numpy() for p in (0.5 - level / 2, 0.5 + level / 2))
        covered.append(((x > low) & (x < high))[gone].mean())
    return f"rmse {rmse(mean, x, gone):.3f}, {nats:+.3f} nats, cover {covered[0]:.3f} {covered[1]:.3f}, {seconds:.1f} s"


def rmse(found: np.ndarray, x: np.ndarray, gone: np.ndarray) -> float:
    return float(np.sqrt(((found - x)[gone] ** 2).mean()))


def main() -> None:
    x = load_breast_cancer().data
    x = (x - x.mean(0)) / x.std(0)
    for seed in range(3):
        gone = hidden(x, seed)
        print(f"mask {seed}: mixture {mixture(x, gone)}", flush=True)
        for imputer in (SimpleImputer(), KNNImputer(), IterativeImputer(max_iter=30, random_state=0)):
            start = time.monotonic()
            found = imputer.fit_transform(np.where(gone, np.nan, x))
            print(
                f"  {type(imputer).__name__} rmse {rmse(found, x, gone):.3f}, {time.monotonic() - start:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
