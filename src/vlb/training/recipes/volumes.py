"""Diffusion models of volumes."""

from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.nn.unet import UNet
from vlb.store.experiment import DataSource, Experiment, Training


def volumes() -> Experiment:
    """Your own voxels (--data PATH: .npy or .npz of (n, D, H, W), bool or whole numbers): small ones on a CPU."""
    return _volumes("volumes", 5000)


def shapes() -> Experiment:
    """Balls, boxes, cylinders and tori in 16×16×16 binary voxels: some minutes on a 2-core CPU."""
    return _volumes("shapes", 600)


def _volumes(name: str, steps: int) -> Experiment:
    return Experiment(
        recipe=name,
        data=DataSource(name=name),
        model=Diffusion(
            schedule=LogSNRLinear(gamma_0=-4.0, gamma_1=8.0),
            backbone=UNet(widths=(32, 64, 96), blocks=1, attention=(False, True, True), patch=2),
        ),
        loss=DiffusionLoss(),
        training=Training(
            steps=steps,
            batch=16,
            learning_rate=2e-3,
            warmup=50,
            ema=0.99,
            validate_every=100,
            validation_examples=200,
            checkpoint_every=100,
        ),
    )
