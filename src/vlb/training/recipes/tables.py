"""Models of tables."""

from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.denoiser import Table
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.schedules import LearnedPerDimension
from vlb.models.factor.config import FactorAnalysers
from vlb.models.factor.loss import FactorLoss
from vlb.nn.mlp import MLP
from vlb.store.experiment import DataSource, Experiment, Training


def iris() -> Experiment:
    """scikit-learn's irises, four lengths and the species: a mixture of factor analysers, by EM: seconds."""
    return Experiment(
        recipe="iris",
        data=DataSource(name="iris"),
        model=FactorAnalysers(),
        loss=FactorLoss(),
        training=Training(steps=0),
    )


def moons() -> Experiment:
    """Two noisy half circles in the plane, whose law is known: a mixture of factor analysers, by EM: seconds."""
    return Experiment(
        recipe="moons",
        data=DataSource(name="moons"),
        model=FactorAnalysers(components=24, rank=1, pull=1.0, pull_means=0.1, believed=1.0),
        loss=FactorLoss(),
        training=Training(steps=0),
    )


def table_diffusion() -> Experiment:
    """Your own table, real columns too, with gaps (--data FILE.csv): a diffusion model; some minutes on a CPU."""
    return Experiment(
        recipe="table-diffusion",
        data=DataSource(name="mixed-table"),
        model=Diffusion(
            schedule=LearnedPerDimension(gamma_0=-8.0, gamma_1=5.0),
            backbone=MLP(width=256, blocks=3, dropout=0.2),
            head=Table(),
            roles=True,
        ),
        loss=DiffusionLoss(known_share=0.5),
        training=Training(
            steps=3000,
            batch=128,
            learning_rate=1e-3,
            warmup=100,
            ema=0.998,
            validate_every=250,
            checkpoint_every=1000,
        ),
    )
