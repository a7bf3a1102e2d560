"""Diffusion models of sound."""

from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.preconditioned import Preconditioned
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.nn.unet import UNet
from vlb.store.experiment import DataSource, Experiment, Training


def sound() -> Experiment:
    """Your own recordings (--data FOLDER of .wav and .flac; --window, --mu-law): some hours on a CPU."""
    return _sound("sound", 20_000)


def prompts() -> Experiment:
    """Spoken prompts, 8 kHz, 16-bit (or --mu-law), in windows: some hours on a 2-core CPU, learns in minutes."""
    return _sound("prompts", 5000)


def _sound(name: str, steps: int) -> Experiment:
    return Experiment(
        recipe=name,
        data=DataSource(name=name),
        model=Diffusion(
            schedule=LogSNRLinear(gamma_0=-15.0, gamma_1=2.0),
            backbone=UNet(widths=(48, 64, 96), blocks=1, attention=(False, False, True), octaves=(0, 2)),
            head=Preconditioned(components=5),
        ),
        loss=DiffusionLoss(),
        training=Training(
            steps=steps,
            batch=16,
            learning_rate=2e-3,
            warmup=100,
            ema=0.998,
            validate_every=250,
            validation_examples=200,
            checkpoint_every=250,
        ),
    )
