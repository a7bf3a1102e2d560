"""Estimators for scikit-learn, under the name by which they are imported; `interfaces.estimators` holds them."""

from vlb.interfaces.estimators.density import MixtureDensity
from vlb.interfaces.estimators.imputer import Imputer

__all__ = ["Imputer", "MixtureDensity"]
