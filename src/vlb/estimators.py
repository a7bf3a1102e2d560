"""Estimators for scikit-learn, under the name by which they are imported; `interfaces.estimators` holds them."""

from vlb.interfaces.estimators.diffusion import DiffusionDensity
from vlb.interfaces.estimators.imputer import Imputer
from vlb.interfaces.estimators.mixture import MixtureDensity
from vlb.interfaces.estimators.vae import VAEDensity

__all__ = ["DiffusionDensity", "Imputer", "MixtureDensity", "VAEDensity"]
