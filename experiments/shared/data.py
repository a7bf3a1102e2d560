"""Data that are not a source of vlb's: a table of whole numbers from scikit-learn's measurements of breast cancers."""

import numpy as np

from vlb.data import Dataset, Split
from vlb.data.splits import completed


def ranked_table(levels: int = 16) -> Dataset:
    """569 rows of 30 measurements, each column cut into `levels` levels at the quantiles of all rows."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    cuts = np.quantile(found.data, np.arange(1, levels) / levels, axis=0)
    x = np.stack([np.searchsorted(cut, column) for cut, column in zip(cuts.T, found.data.T, strict=True)], 1)
    return completed("ranked table", levels, Split(x.astype(np.uint8), found.target), None, None, "the table")
