"""Methods that run in this process: vlb, scikit-learn's, and a Gaussian by EM."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gaussian
import numpy as np
import pandas as pd
import torch
from filled import LEVELS, Filled, from_indicators, indicators
from masks import USUAL
from scipy.special import ndtri
from scores import DRAWS
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sources import Table

from vlb.core.condition import Condition, Role
from vlb.estimators import Imputer

ROUNDS = 10  # of IterativeImputer, as it has by default


class Failed(Exception):
    """A method that has no answer, and its last words."""


@dataclass(frozen=True)
class Method:
    """run: from a table, the cells that are gone and a seed; categories: whether it takes any. slow: whether it runs,
    unless it is asked for by name, at 30 % MCAR alone; with so many `seeds` and on which `tables`, None: all."""

    run: Callable[[Table, np.ndarray, int], Filled]
    categories: bool = True
    slow: bool = False
    seeds: int | None = None
    tables: tuple[str, ...] | None = None

    def takes(self, table: Table) -> bool:
        """Whether it can fill it."""
        return self.categories or bool(table.reals.all())

    def usual(self, table: str, mechanism: str, rate: float, seed: int) -> bool:
        """Whether it runs without being asked for by name."""
        few = self.seeds is None or seed < self.seeds
        here = self.tables is None or table in self.tables
        return few and here and (not self.slow or (mechanism, rate) == USUAL)


def framed(x: np.ndarray, counts: np.ndarray) -> Any:
    """x (n, D), NaN where a cell is missing, as vlb takes it: an array of reals, or a DataFrame where there are
    categories."""
    if not counts.any():
        return x
    columns: dict[str, Any] = {}
    for place, (column, count) in enumerate(zip(x.T, counts, strict=True)):
        words = [None if np.isnan(value) else f"v{int(value)}" for value in column]
        columns[f"c{place}"] = words if count else column
    return pd.DataFrame(columns)


def unframed(found: Any) -> np.ndarray:
    """(n, D) of what `framed` made."""
    if isinstance(found, np.ndarray):
        return found
    words = [found[name].map(lambda cell: cell if isinstance(cell, float) else float(cell[1:])) for name in found]
    return np.column_stack([column.to_numpy(float) for column in words])


def mixture(table: Table, gone: np.ndarray, seed: int) -> Filled:
    holed = framed(np.where(gone, np.nan, table.x), table.counts)
    start = time.process_time()
    imputer = Imputer(n_draws=DRAWS, random_state=seed)
    mean = unframed(imputer.fit_transform(holed))
    seconds = time.process_time() - start
    draws = np.stack([unframed(draw) for draw in imputer.draws(holed)])
    density = imputer.estimator_
    ends = {}
    if len(density.columns) == table.x.shape[1]:  # else a column is an atom and a value, and draws say more
        law = density.conditional(holed)
        ends = {level: tuple(law.quantile((1 + sign * level) / 2).numpy() for sign in (-1, 1)) for level in LEVELS}
    role = np.where(gone, Role.MODELLED, Role.KNOWN).astype(np.uint8)
    nats = None
    if table.has_density:
        nats = float(density.model_.log_prob(torch.from_numpy(table.x), Condition(role=torch.from_numpy(role))).sum())
    return Filled(mean, seconds, draws, nats, ends)


def em(table: Table, gone: np.ndarray, seed: int) -> Filled:
    start = time.process_time()
    mean, covariance = gaussian.fit(np.where(gone, 0.0, table.x), gone)
    centre, between = gaussian.given(mean, covariance, table.x, gone)
    seconds = time.process_time() - start
    spread, vectors = np.linalg.eigh(between)
    root = vectors * np.sqrt(spread.clip(0))[:, None]
    noise = np.random.default_rng(seed).normal(size=(DRAWS, *centre.shape, 1))
    draws = centre + (root @ noise)[..., 0]
    deviation = np.sqrt(np.diagonal(between, axis1=1, axis2=2))
    ends = {
        level: (centre - ndtri((1 + level) / 2) * deviation, centre + ndtri((1 + level) / 2) * deviation)
        for level in LEVELS
    }
    nats = float(gaussian.log_prob(mean, covariance, table.x, gone).sum())
    return Filled(centre, seconds, draws, nats, ends)


def point(imputer: Callable[[int], Any]) -> Callable[[Table, np.ndarray, int], Filled]:
    """An imputer of scikit-learn, from a seed, on indicators of categories."""

    def run(table: Table, gone: np.ndarray, seed: int) -> Filled:
        wide = indicators(np.where(gone, np.nan, table.x), table.counts)
        start = time.process_time()
        found = quietly(imputer(seed).fit_transform, wide)
        return Filled(from_indicators(found, table.counts), time.process_time() - start)

    return run


def chained(table: Table, gone: np.ndarray, seed: int) -> Filled:
    """Draws of a chain of Bayesian ridge regressions, fitted once; their mean."""
    wide = indicators(np.where(gone, np.nan, table.x), table.counts)
    start = time.process_time()
    imputer = IterativeImputer(max_iter=ROUNDS, sample_posterior=True, random_state=seed)
    draws = [quietly(imputer.fit_transform, wide)]
    draws += [quietly(imputer.transform, wide) for _ in range(DRAWS - 1)]
    mean = from_indicators(np.mean(draws, 0), table.counts)
    seconds = time.process_time() - start
    return Filled(mean, seconds, from_indicators(np.stack(draws), table.counts))


def forest(seed: int) -> IterativeImputer:
    trees = RandomForestRegressor(n_estimators=20, min_samples_leaf=3, max_features=0.5, random_state=seed)
    return IterativeImputer(trees, max_iter=3, random_state=seed)


def quietly(call: Callable[[np.ndarray], np.ndarray], wide: np.ndarray) -> np.ndarray:
    """Without scikit-learn's warning that its chain has not converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(wide)


METHODS: dict[str, Method] = {
    "vlb": Method(mixture),
    "mean": Method(point(lambda seed: SimpleImputer())),
    "kNN": Method(point(lambda seed: KNNImputer())),
    "iterative": Method(point(lambda seed: IterativeImputer(max_iter=ROUNDS, random_state=seed))),
    "Gaussian EM": Method(em, categories=False),
    "iterative, draws": Method(chained, slow=True),
    "iterative forest": Method(point(forest), slow=True),
}
