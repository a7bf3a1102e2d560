"""How x meets a model: embeddings, laws per element, and the emissions that make laws of a network's output."""

from vlb.core.emissions.base import (
    Components,
    Conjugate,
    ConjugateEmission,
    Continuum,
    Embedding,
    Emission,
    Law,
    Mixed,
)
from vlb.core.emissions.coordinates import CoordinateMixture, Coordinates, Placed
from vlb.core.emissions.embedding import Centres, Continuous
from vlb.core.emissions.laws import Bernoulli, Bins, DiscretisedLogistic, DiscretisedMixture
from vlb.core.emissions.listed import Listed
from vlb.core.emissions.masked import Masked, counted
from vlb.core.emissions.modules import (
    BernoulliEmission,
    CategoricalEmission,
    CategoricalPosterior,
    DiscretisedLogisticEmission,
    GaussianEmission,
    MixtureEmission,
)
from vlb.core.emissions.particles import Particles
from vlb.core.emissions.successive import Successive
from vlb.core.emissions.table import RowEmbedding, TableEmission, TableLaw

__all__ = [
    "Bernoulli",
    "BernoulliEmission",
    "Bins",
    "CategoricalEmission",
    "CategoricalPosterior",
    "Centres",
    "Components",
    "Conjugate",
    "ConjugateEmission",
    "Continuous",
    "Continuum",
    "CoordinateMixture",
    "Coordinates",
    "DiscretisedLogistic",
    "DiscretisedLogisticEmission",
    "DiscretisedMixture",
    "Embedding",
    "Emission",
    "GaussianEmission",
    "Law",
    "Listed",
    "Masked",
    "Mixed",
    "MixtureEmission",
    "Particles",
    "Placed",
    "RowEmbedding",
    "Successive",
    "TableEmission",
    "TableLaw",
    "counted",
]
