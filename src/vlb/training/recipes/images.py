"""Diffusion models of images."""

from dataclasses import replace

from vlb.models.cascade.config import Cascade
from vlb.models.cascade.loss import CascadeLoss
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.decoder import Lattices
from vlb.models.diffusion.denoiser import Posterior
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.preconditioned import Preconditioned
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.models.diffusion.times import AdaptiveTime
from vlb.nn.optimisers import Muon
from vlb.nn.unet import UNet
from vlb.store.experiment import DataSource, Experiment, Training

DIGITS = Diffusion(
    schedule=LogSNRLinear(gamma_0=-6.0, gamma_1=5.0),
    backbone=UNet(widths=(32, 64), blocks=1, attention=(True, True), dropout=0.2),
)
SMALL_IMAGES = Diffusion(
    schedule=LogSNRLinear(gamma_0=-7.5, gamma_1=5.0),
    backbone=UNet(widths=(32, 64, 96), blocks=1, attention=(False, False, True)),
    head=Preconditioned(),
)
# Few steps need all of p(x | z), of which the preconditioned head's training says no more than the mean.
SHORT_FILES = replace(
    SMALL_IMAGES,
    backbone=UNet(widths=(64, 64, 64), blocks=1, attention=(False, False, True)),
    head=Posterior(),
)
BOUND = DiffusionLoss(times=AdaptiveTime())
BRIEF = Training(optimiser=Muon(), learning_rate=3e-3, warmup=50, ema=0.99)


def digits() -> Experiment:
    """Digits bundled with scikit-learn, 8×8, 17 levels: about three minutes on a 2-core CPU."""
    return Experiment(
        recipe="digits",
        data=DataSource(name="digits"),
        model=DIGITS,
        loss=BOUND,
        training=replace(BRIEF, steps=1000, batch=64, validate_every=100, checkpoint_every=200),
    )


def digits_lattices() -> Experiment:
    """Digits for short files: few noise levels, then x in four lattices: about four minutes on a 2-core CPU."""
    plain = digits()
    return _in_lattices(plain, DIGITS, -3.0, 0.75, replace(plain.training, batch=48))


def digits_cascade() -> Experiment:
    """Digits: a coarse band of 4×4 by a diffusion model, the details given it by another: about three minutes."""
    plain = digits()
    return replace(
        plain,
        recipe="digits-cascade",
        model=Cascade(coarse=DIGITS, details=DIGITS),
        loss=CascadeLoss(coarse=BOUND, details=BOUND),
    )


def mnist() -> Experiment:
    """MNIST, 28×28, 256 levels: about half an hour on a 2-core CPU."""
    return _small_images("mnist", replace(SMALL_IMAGES, head=Posterior()))  # its values are no scale: mostly two


def fashion_mnist() -> Experiment:
    """Fashion-MNIST, 28×28, 256 levels: about half an hour on a 2-core CPU."""
    return _small_images("fashion-mnist", SMALL_IMAGES)


def fashion_mnist_lattices() -> Experiment:
    """Fashion-MNIST for short files, x in four lattices: about forty minutes on a 2-core CPU."""
    plain = fashion_mnist()
    training = replace(plain.training, steps=1200, batch=64, precision="float32", validate_every=300)
    return _in_lattices(plain, SHORT_FILES, -4.0, 0.4, training)


def _in_lattices(
    plain: Experiment, together: Diffusion, gamma_0: float, share: float, training: Training
) -> Experiment:
    """The same data by a model that decodes in lattices from γ₀; share: of examples, that decode."""
    return replace(
        plain,
        recipe=f"{plain.recipe}-lattices",
        model=replace(together, schedule=LogSNRLinear(gamma_0=gamma_0, gamma_1=5.0), decoder=Lattices()),
        loss=replace(BOUND, decoder_share=share),
        training=training,
    )


def _small_images(name: str, model: Diffusion) -> Experiment:
    return Experiment(
        recipe=name,
        data=DataSource(name=name),
        model=model,
        loss=BOUND,
        training=replace(
            BRIEF,
            steps=9000,
            batch=48,
            precision="bfloat16",
            validate_every=1000,
            validation_examples=500,
            checkpoint_every=100,
        ),
    )


def cifar10() -> Experiment:
    """CIFAR-10, 32×32×3, 256 levels: meant for a GPU; starts on a CPU and makes progress there."""
    return Experiment(
        recipe="cifar10",
        data=DataSource(name="cifar10"),
        model=Diffusion(
            schedule=LogSNRLinear(gamma_0=-10.0, gamma_1=5.0),
            backbone=UNet(widths=(128, 128, 128), blocks=2, attention=(False, True, True), dropout=0.1),
            head=Preconditioned(),
        ),
        loss=BOUND,
        training=Training(
            steps=100_000,
            batch=128,
            optimiser=Muon(),
            learning_rate=1e-3,
            warmup=500,
            ema=0.9995,
            precision="bfloat16",
            validate_every=2000,
            validation_examples=1000,
            checkpoint_every=500,
        ),
    )


def images() -> Experiment:
    """Your own images (--data PATH: a folder, .npy, .npz, idx or CIFAR .bin), small ones on a CPU."""
    return Experiment(
        recipe="images",
        data=DataSource(name="images"),
        model=Diffusion(
            schedule=LogSNRLinear(gamma_0=-9.0, gamma_1=5.0),
            backbone=UNet(widths=(64, 96, 128), blocks=1, attention=(False, False, True), dropout=0.05),
            head=Preconditioned(),
        ),
        loss=BOUND,
        training=Training(steps=5000, batch=32, optimiser=Muon(), ema=0.998, precision="float32"),
    )
