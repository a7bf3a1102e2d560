"""Estimators for scikit-learn: a density of tables with gaps, and an imputer that draws from it."""

from vlb.estimators.density import MixtureDensity
from vlb.estimators.imputer import Imputer

__all__ = ["Imputer", "MixtureDensity"]
