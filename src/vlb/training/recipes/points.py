"""Diffusion models of point clouds."""

from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.loss import DiffusionLoss
from vlb.models.diffusion.preconditioned import Preconditioned
from vlb.models.diffusion.schedules import LogSNRLinear
from vlb.nn.optimisers import Muon
from vlb.nn.sets import SetAttention
from vlb.store.experiment import DataSource, Experiment, Training


def points() -> Experiment:
    """Your own point clouds and meshes (--data PATH: .npy, .npz, or a folder of .npy, .off, .obj, .ply; --points N)."""
    return _points("points", 5000)


def clouds() -> Experiment:
    """64 points each of balls, boxes, cylinders and tori, as sets: some minutes on a 2-core CPU."""
    return _points("clouds", 400)


def _points(name: str, steps: int) -> Experiment:
    return Experiment(
        recipe=name,
        data=DataSource(name=name),
        model=Diffusion(
            schedule=LogSNRLinear(gamma_0=-8.0, gamma_1=6.0),
            backbone=SetAttention(width=64, blocks=4),
            head=Preconditioned(components=3),
        ),
        loss=DiffusionLoss(),
        training=Training(
            steps=steps,
            batch=32,
            optimiser=Muon(),
            learning_rate=2e-3,
            warmup=30,
            ema=0.99,
            validate_every=200,
            validation_examples=200,
            checkpoint_every=200,
        ),
    )
