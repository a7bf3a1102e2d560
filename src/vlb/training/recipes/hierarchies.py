"""The predecessors of diffusion: mixtures, VAEs, hierarchies and ladder networks, at two sizes."""

from typing import Literal

from vlb.core.emissions.offered import BernoulliOutput, ColumnsOutput, DiscretisedLogisticOutput
from vlb.models.factor.config import FactorAnalysers
from vlb.models.factor.loss import FactorLoss
from vlb.models.ladder.config import Ladder
from vlb.models.ladder.loss import LadderLoss
from vlb.models.mixture.config import Mixture
from vlb.models.mixture.loss import MixtureLoss
from vlb.models.vae.config import HVAE, VAE
from vlb.models.vae.loss import ElboLoss
from vlb.nn.coder import DenseCoder
from vlb.store.experiment import DataSource, Experiment, Training


def digits_mixture() -> Experiment:
    """Digits: a mixture of product-categoricals with an exact log p, by EM: seconds."""
    return Experiment(
        recipe="digits-mixture",
        data=DataSource(name="digits"),
        model=Mixture(),
        loss=MixtureLoss(),
        training=_training(200, learning_rate=3e-3, validate_every=50),
    )


def table() -> Experiment:
    """Your own table, real columns too, with gaps (--data FILE.csv): a mixture of factor analysers, by EM: seconds."""
    return Experiment(
        recipe="table",
        data=DataSource(name="mixed-table"),
        model=FactorAnalysers(),
        loss=FactorLoss(),
        training=Training(steps=0),
    )


def table_vae() -> Experiment:
    """Your own table, real columns too, with gaps (--data FILE.csv): a VAE of the cells that are there: minutes."""
    return Experiment(
        recipe="table-vae",
        data=DataSource(name="mixed-table"),
        model=VAE(coder=DenseCoder(width=128, dropout=0.3), likelihood=ColumnsOutput()),
        loss=ElboLoss(given=0.5),
        training=_training(3000),
    )


def discrete_table() -> Experiment:
    """Your own table of discrete columns (--data FILE.csv): a mixture of product-categoricals, by EM: seconds."""
    return Experiment(
        recipe="discrete-table",
        data=DataSource(name="table"),
        model=Mixture(components=40, smoothing=10.0),
        loss=MixtureLoss(),
        training=_training(200, learning_rate=3e-3, validate_every=50),
    )


def digits_vae() -> Experiment:
    """Digits: a VAE with 16 latents: seconds on a CPU."""
    return Experiment(
        recipe="digits-vae",
        data=DataSource(name="digits"),
        model=VAE(coder=DenseCoder(dropout=0.3), likelihood=DiscretisedLogisticOutput()),
        loss=ElboLoss(),
        training=_training(1500, weight_decay=1.0),
    )


def digits_hvae_bottom_up() -> Experiment:
    """Digits: three rungs inferred from the bottom up; the generative network of digits-hvae-top-down."""
    return Experiment(
        recipe="digits-hvae-bottom-up",
        data=DataSource(name="digits"),
        model=_digits_hierarchy("bottom-up"),
        loss=ElboLoss(warmup=750),
        training=_training(1500, weight_decay=1.0),
    )


def digits_hvae_top_down() -> Experiment:
    """Digits: three rungs inferred from the top down, a ladder VAE: half a minute on a CPU."""
    return Experiment(
        recipe="digits-hvae-top-down",
        data=DataSource(name="digits"),
        model=_digits_hierarchy("top-down"),
        loss=ElboLoss(warmup=750),
        training=_training(1500, weight_decay=1.0),
    )


def digits_ladder() -> Experiment:
    """Digits: a ladder network that may see 100 labels: half a minute on a CPU."""
    return Experiment(
        recipe="digits-ladder",
        data=DataSource(name="digits"),
        model=Ladder(),
        loss=LadderLoss(),
        training=_training(2000, learning_rate=3e-3, weight_decay=0.0, clip=300.0),
    )


def mnist_vae() -> Experiment:
    """Statically binarised MNIST: a VAE with 50 latents (published: 86.8 nats); twenty minutes on a CPU."""
    return Experiment(
        recipe="mnist-vae",
        data=DataSource(name="binarised-mnist"),
        model=VAE(latents=50, coder=DenseCoder(width=512, dropout=0.1), likelihood=BernoulliOutput()),
        loss=ElboLoss(warmup=1000),
        training=_large(40_000),
    )


def mnist_hvae() -> Experiment:
    """Statically binarised MNIST: a ladder VAE of five rungs (published: 81.7 nats); an hour on a CPU."""
    return Experiment(
        recipe="mnist-hvae",
        data=DataSource(name="binarised-mnist"),
        model=HVAE(latents=(64, 32, 16, 8, 4), width=256, dropout=0.1, likelihood=BernoulliOutput()),
        loss=ElboLoss(warmup=10_000),
        training=_large(60_000),
    )


def mnist_ladder() -> Experiment:
    """MNIST: a ladder network that may see 100 labels (published: 1.13 % error); a night on a CPU, or a GPU."""
    return Experiment(
        recipe="mnist-ladder",
        data=DataSource(name="mnist"),
        model=Ladder(widths=(1000, 500, 250, 250, 250), costs=(1000.0, 10.0, 0.1, 0.1, 0.1, 0.1, 0.1), noise=0.3),
        loss=LadderLoss(),
        training=_large(90_000, batch=100, learning_rate=2e-3, weight_decay=0.0, clip=3000.0),
    )


def _digits_hierarchy(inference: Literal["bottom-up", "top-down"]) -> HVAE:
    return HVAE(inference=inference, dropout=0.3, likelihood=DiscretisedLogisticOutput())


def _training(
    steps: int,
    learning_rate: float = 2e-3,
    validate_every: int = 100,
    weight_decay: float = 0.01,
    clip: float = 5.0,
) -> Training:
    return Training(
        steps=steps,
        batch=64,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup=50,
        ema=0.99,
        clip=clip,
        validate_every=validate_every,
        checkpoint_every=500,
    )


def _large(
    steps: int, batch: int = 128, learning_rate: float = 1e-3, weight_decay: float = 0.01, clip: float = 5.0
) -> Training:
    return Training(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup=500,
        ema=0.999,
        clip=clip,
        validate_every=1000,
        checkpoint_every=1000,
    )
