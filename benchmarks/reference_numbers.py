"""Reference numbers: what the command line says today, kept so that a redesign can be shown to change none of it.

Small models of every kind are trained, evaluated, sampled from, compared and used for compression, each by `vlb`
commands in a temporary folder; what they write is kept as numbers, and arrays and pictures as digests.
Nothing of vlb is imported, so that modules may move; parts of models are called as this vlb calls them, by class or
by tag. Times and speeds are left out.

    python benchmarks/reference_numbers.py make [--out FILE.json]     # with whatever vlb is importable
    python benchmarks/reference_numbers.py check [FILE.json]          # make them again, and compare
    python benchmarks/reference_numbers.py check --only evaluate/     # those with this in their names

`check` counts the numbers that are equal to the last bit and those that are equal within 1e-6 of their size, prints
every one that is not, and then ends with status 1. Entries under "informative" (digests of weights and of archives,
which depend on the order and the names of tensors, too) are reported and never fail.

Everything runs on one thread. Equality to the bit holds on one machine with one version of torch: on another, make the
file at the earlier commit first, with `make --out`, and check the later one against that. PYTHONPATH says which source
is meant, e.g. the `src` of a second work tree.

A command is `python -m vlb …`, by default in a process forked from one that has imported torch, which saves seconds
each; --separate starts a new interpreter for each.
"""

import argparse
import csv
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import multiprocessing
import os
import platform
import re
import runpy
import shlex
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BESIDE = Path(__file__).with_suffix(".json")
CLOSE = 1e-6
RENAMED = {"levels T": "steps T", "levels even in": "rungs even in", "levels by least cost": "rungs by least cost"}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PRELOADED = ["torch", "torch._dynamo", "safetensors.torch", "sklearn.datasets", "matplotlib.figure", "rich.progress"]
PICTURES = (".png", ".bmp", ".ppm")
LEFT_OUT = ("values", "kind", "shape", "levels", "dimensions", "split_examples")  # a path, and what data are like
WRONG = (KeyError, IndexError, StopIteration, OSError, ValueError)  # what reading an unexpected output may raise

AVERAGES = ("ema.", "average.model.")  # the sections of a checkpoint that hold averaged weights, once and now

Found = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """`vlb train RECIPE` with overrides; data: a file or folder that `make_data` made."""

    recipe: str
    overrides: tuple[str, ...] = ()
    data: str | None = None
    labels: bool = False


def steps(count: int) -> tuple[str, ...]:
    """So many steps, every one of them recorded."""
    return (f"training.steps={count}", "training.log_every=1")


MLP = ("model.backbone=MLPConfig", "model.backbone.width=32", "model.backbone.blocks=1")
SHORT = (
    *steps(30),
    "training.warmup=5",
    "training.ema=0.9",
    "training.learning_rate=0.003",
    "training.validate_every=30",
    "training.validation_examples=50",
)
LONGER = (*steps(200), "training.learning_rate=0.003", "training.ema=0.95", "training.validate_every=100")


def nested(kind: str, **fields: Any) -> str:
    """A configuration as `--set` reads it."""
    return json.dumps({"type": kind, **fields})


RECIPES = {
    "digits": Training("digits", steps(200)),
    "digits-mixture": Training("digits-mixture", steps(200)),
    "digits-vae": Training("digits-vae", steps(200)),
    "digits-hvae-bottom-up": Training("digits-hvae-bottom-up", steps(200)),
    "digits-hvae-top-down": Training("digits-hvae-top-down", steps(200)),
    "digits-ladder": Training("digits-ladder", steps(200)),
    "table": Training("table", steps(200), "data/table.csv"),
    "images": Training("images", (*steps(200), "model.backbone.widths=[16, 24, 32]"), "data/grey8.npy"),
    "images-colour": Training("images", (*steps(200), "model.backbone.widths=[16, 24, 32]"), "data/colour8.npy"),
}

# Recipes whose data have to be fetched: the same on pictures that are made here, and smaller where they are dear.
STAND_INS = {
    "mnist": Training(
        "images",
        (
            *steps(40),
            "model.schedule.gamma_0=-7.5",
            "model.backbone.widths=[16, 16, 16]",
            "model.backbone.dropout=0.0",
            "training.batch=16",
            "training.learning_rate=0.003",
            "training.warmup=50",
            "training.precision=bfloat16",
        ),
        "data/grey28.npz",
    ),
    "cifar10": Training(
        "images",
        (
            *steps(40),
            "model.schedule.gamma_0=-10.0",
            "model.backbone="
            + nested("UNetConfig", widths=[16, 16, 16], blocks=2, attention=[False, True, True], dropout=0.1),
            "training.batch=8",
            "training.precision=bfloat16",
        ),
        "data/colour32.npy",
    ),
    "mnist-vae": Training(
        "images",
        (
            "model="
            + nested(
                "VAEConfig",
                latents=50,
                coder={"type": "DenseCoderConfig", "width": 512, "dropout": 0.1},
                likelihood={"type": "BernoulliConfig"},
                warmup=1000,
            ),
            *steps(200),
            "training.batch=128",
        ),
        "data/binary28.npz",
    ),
    "mnist-hvae": Training(
        "images",
        (
            "model="
            + nested(
                "HVAEConfig",
                latents=[64, 32, 16, 8, 4],
                width=256,
                likelihood={"type": "BernoulliConfig"},
                warmup=10_000,
            ),
            *steps(200),
            "training.batch=64",
        ),
        "data/binary28.npz",
    ),
    "mnist-ladder": Training(
        "images",
        (
            "model="
            + nested("LadderConfig", widths=[1000, 500, 250, 250, 250], costs=[1000.0, 10.0, 0.1, 0.1, 0.1, 0.1, 0.1]),
            *steps(40),
            "training.batch=100",
            "training.clip=3000.0",
            "training.weight_decay=0.0",
        ),
        "data/grey28.npz",
    ),
}

LONGER_TABLE = (
    "model="
    + nested(
        "DiffusionConfig",
        schedule={"type": "LogSNRLinearConfig", "gamma_0": -6.0, "gamma_1": 5.0},
        backbone={"type": "MLPConfig", "width": 64, "blocks": 2},
    ),
    *steps(300),
    "training.learning_rate=0.001",
    "training.ema=0.95",
)
FURTHER = {
    "folder": Training("images", (*SHORT, *MLP), "data/pictures-only"),
    "mlp": Training("digits", (*LONGER, "model.backbone=MLPConfig", "model.backbone.width=64")),
    "labels": Training("digits", (*LONGER, "model.backbone=MLPConfig", "model.backbone.width=64"), labels=True),
    "labels-unet": Training("digits", (*SHORT, "model.backbone.widths=[8, 16]"), labels=True),
    "adaptive": Training("digits", (*LONGER, *MLP, "model.times=AdaptiveTimesConfig")),
    "learned": Training("digits", (*LONGER, *MLP, "model.schedule=LearnedConfig")),
    "grey8": Training("images", (*SHORT, *MLP, "training.batch=64"), "data/grey8.npy"),
    "colour8": Training("images", (*SHORT, *MLP, "model.head=MixtureHeadConfig"), "data/colour8.npy"),
    "table-diffusion": Training(
        "table",
        ("model=" + nested("DiffusionConfig", backbone={"type": "MLPConfig", "width": 32, "blocks": 1}), *SHORT),
        "data/table.csv",
    ),
    **{
        f"table-{head.lower()}": Training(
            "table", (*LONGER_TABLE, f"model.head={head}Config", "training.validate_every=100"), "data/table.csv"
        )
        for head in ("RegressionHead", "Energy")
    },
    "table-vae": Training(
        "table",
        ("model=" + nested("VAEConfig", latents=3, coder={"type": "DenseCoderConfig"}), *SHORT),
        "data/table.csv",
    ),
}

SCHEDULES = [
    "LogSNRLinear",
    "LinearBeta",
    "Cosine",
    "InterpolatedCosine",
    "OptimalTransport",
    "Sigmoid",
    "EDM",
    "Learned",
    "LearnedPerDimension",
]
WEIGHTINGS = [
    "Likelihood",
    "Sigmoid",
    "NoiseLinearBeta",
    "NoiseCosine",
    "VelocityCosine",
    "FlowMatching",
    "RectifiedFlow",
    "Inversion",
    "EDM",
    "EDMMonotonic",
    "P2",
    "MinSNR",
    "Uncertainty",
]
TIMES = ["LowDiscrepancy", "Uniform", "Schedule", "Adaptive", "LeastVariance", "Warped"]
OUTPUTS = ("x", "eps", "v", "score", "u", "edm")
COLUMNS = [{"type": ("CosineConfig", "LogSNRLinearConfig")[i % 2], "gamma_0": -6.0 - i / 64} for i in range(64)]
BINARY = "data/binary8.npz"


def diffusion_variants() -> dict[str, Training]:
    """Small diffusion models of digits, each with one part exchanged."""
    changes: dict[str, tuple[str, ...]] = {}
    changes |= {f"schedule/{name}": (f"model.schedule={name}Config",) for name in SCHEDULES}
    changes["schedule/PerColumn"] = ("model.schedule=" + nested("PerColumnConfig", columns=COLUMNS),)
    for name in ("Learned", "LearnedPerDimension"):
        ends = ("model.schedule.learn_ends=false", "model.weighting=SigmoidWeightingConfig")
        changes[f"schedule/{name}-fixed-ends"] = (f"model.schedule={name}Config", *ends)
    changes |= {f"weighting/{name}": (f"model.weighting={name}WeightingConfig",) for name in WEIGHTINGS}
    changes |= {f"times/{name}": (f"model.times={name}TimesConfig",) for name in TIMES}
    changes |= {f"head/{name}": (f"model.head={name}Config",) for name in ("MixtureHead", "Energy")}
    for output in OUTPUTS:
        changes[f"head/{output}"] = ("model.head=RegressionHeadConfig", f"model.head.output={output}")
    for scaling in ("VE", "OT"):
        changes[f"scaling/{scaling}"] = (f"model.scaling={scaling}",)
        changes[f"scaling/{scaling}-v"] = (f"model.scaling={scaling}", "model.head=RegressionHeadConfig")
    changes |= {f"precision/{name}": (f"training.precision={name}",) for name in ("bfloat16", "float16")}
    changes["other/seed"] = ("seed=7",)
    changes["other/decoder-share"] = ("model.decoder_share=0.5",)
    changes["other/clip"] = ("training.clip=0.05", "training.betas=[0.8, 0.95]")
    changes["other/spikes"] = ("training.steps=150", "training.spike=1.1")
    trainings = {name: Training("digits", (*SHORT, *MLP, *change)) for name, change in changes.items()}
    tiny = (*SHORT, "model.backbone.widths=[8, 16]")
    trainings["backbone/unet"] = Training("digits", tiny)
    trainings["backbone/unet-octaves-patch"] = Training(
        "digits", (*tiny, "model.backbone.octaves=[4, 5]", "model.backbone.patch=2", "model.backbone.blocks=2")
    )
    unconditional = ("condition=labels", "unconditional_share=0.6")
    trainings["other/unconditional-share"] = Training("digits", (*SHORT, *MLP, *unconditional))
    return trainings


def hierarchy_variants() -> dict[str, Training]:
    """Small VAEs, hierarchies, mixtures and ladders, each with one part exchanged."""
    vae, hvae = "digits-vae", "digits-hvae-top-down"
    residual = "model=ResidualHVAEConfig"
    changes: dict[str, tuple[str, tuple[str, ...], str | None]] = {
        "vae/categorical": (vae, ("model.likelihood=CategoricalConfig",), None),
        "vae/bernoulli": ("images", ("model=" + nested("VAEConfig", likelihood={"type": "BernoulliConfig"}),), BINARY),
        "vae/conv": (vae, ("model.coder=ConvCoderConfig", "model.coder.widths=[8, 16]"), None),
        "vae/vamp": (vae, ("model.prior=VampPriorConfig", "model.prior.inputs=10"), None),
        "vae/aggregate": (vae, ("model.prior=AggregatePriorConfig", "model.prior.examples=50"), None),
        "vae/warmup-free-nats": (vae, ("model.warmup=20", "model.free_nats=0.5"), None),
        "hvae/joined": (hvae, ("model.merge=joined", "model.width=64"), None),
        "hvae/relative": (hvae, ("model.merge=relative", "model.width=64"), None),
        "hvae/precision": (hvae, ("model.merge=precision", "model.width=64", "model.free_nats=0.5"), None),
        "hvae/bottom-up-categorical": (
            "digits-hvae-bottom-up",
            ("model.likelihood=CategoricalConfig", "model.width=64", "model.latents=[8, 4]"),
            None,
        ),
        "hvae/residual": (hvae, (residual, "model.width=16"), None),
        "hvae/residual-logistic": (
            hvae,
            (residual, "model.width=16", "model.halvings=[0, 1, 1]", "model.likelihood=DiscretisedLogisticConfig"),
            None,
        ),
        "mixture/no-em": ("digits-mixture", ("model.em_steps=0", "model.components=6"), None),
        "ladder/supervised": ("digits-ladder", ("model.widths=[64, 32]", "model.costs=[0.0, 0.0, 0.0, 0.0]"), None),
        "ladder/all-labels": (
            "digits-ladder",
            ("model.labelled=1000", "model.noise=0.2", "model.labelled_seed=1"),
            None,
        ),
    }
    return {name: Training(recipe, (*own, *SHORT), data) for name, (recipe, own, data) in changes.items()}


TRAININGS = (
    RECIPES
    | {f"stand-in/{name}": training for name, training in STAND_INS.items()}
    | FURTHER
    | {f"variants/{name}": training for name, training in (diffusion_variants() | hierarchy_variants()).items()}
)

ODE = "--likelihood ode --steps 8 --examples 10 --passes 2"
# Below, what follows the name of a command; runs are trained when first named.
EVALUATIONS = {
    "digits/continuous": "runs/digits",
    "digits/steps": "runs/digits --steps 4 --kernel mixture --placement dp --examples 60 --passes 2",
    "mlp/continuous": "runs/mlp",
    "mlp/validation": "runs/mlp --split validation --seed 7",
    "mlp/train-part": "runs/mlp --split train --examples 100 --passes 5",
    "mlp/one-example": "runs/mlp --examples 1",
    "mlp/precision": "runs/mlp --precision 0.0005 --budget 60",
    "mlp/unplanned": "runs/mlp --split data/many.npy --passes 2",
    "mlp/own-array": "runs/mlp --split data/digits.npy",
    "mlp/own-pictures": "runs/mlp --split data/pictures-only",
    "mlp/steps-standard-t": "runs/mlp --steps 8 --kernel standard --placement t --passes 3",
    "mlp/steps-moment-snr": "runs/mlp --steps 8 --kernel moment --placement snr --passes 3",
    "mlp/steps-mixture-dp": "runs/mlp --steps 8 --kernel mixture --placement dp --passes 3",
    "mlp/steps-standard-dp": "runs/mlp --steps 5 --placement dp --passes 3",
    "mlp/steps-many": "runs/mlp --steps 200 --passes 2",
    "mlp/steps-precision": "runs/mlp --steps 4 --kernel mixture --precision 0.01",
    "mlp/importance": "runs/mlp --likelihood importance --steps 4 --draws 4 --examples 20 --passes 2",
    "mlp/importance-mixture": "runs/mlp --likelihood importance --steps 3 --kernel mixture --examples 20 --passes 2",
    "mlp/ode": "runs/mlp --likelihood ode --examples 8 --passes 2 --tolerance 0.001",
    "mlp/ode-exact": "runs/mlp --likelihood ode --examples 4 --passes 2 --steps 6 --divergence exact",
    "mlp/ode-steps-t": f"runs/mlp {ODE} --placement t",
    "mlp/ode-uniform": f"runs/mlp {ODE} --dequantisation uniform",
    "mlp/ode-truncated-normal": f"runs/mlp {ODE} --dequantisation truncated-normal",
    "mlp/ode-variational": f"runs/mlp {ODE} --dequantisation variational",
    "labels/continuous": "runs/labels",
    "labels/own-array": "runs/labels --split data/digits.npz",
    "labels/steps": "runs/labels --steps 8 --kernel mixture --placement dp --passes 2",
    "labels/importance": "runs/labels --likelihood importance --steps 3 --draws 4 --examples 20 --passes 2",
    "labels/ode": f"runs/labels {ODE}",
    "labels/ode-variational": f"runs/labels {ODE} --dequantisation variational",
    "labels-unet/continuous": "runs/labels-unet --examples 60",
    "adaptive/continuous": "runs/adaptive --passes 2",
    "learned/continuous": "runs/learned --passes 2",
    "learned/steps": "runs/learned --steps 6 --kernel moment --passes 2",
    "per-dimension/continuous": "runs/variants/schedule/LearnedPerDimension --passes 2",
    "per-dimension/steps": "runs/variants/schedule/LearnedPerDimension --passes 2 --steps 4",
    "per-column/continuous": "runs/variants/schedule/PerColumn --passes 2",
    "bfloat16/continuous": "runs/variants/precision/bfloat16 --passes 2",
    "mixture-head/continuous": "runs/variants/head/MixtureHead --examples 100",
    "mixture-head/steps-mixture": "runs/variants/head/MixtureHead --steps 4 --kernel mixture --passes 2",
    "mixture-head/steps-moment": "runs/variants/head/MixtureHead --steps 4 --kernel moment --passes 2",
    "energy/continuous": "runs/variants/head/Energy --examples 30",
    "energy/steps": "runs/variants/head/Energy --steps 4 --examples 30 --passes 2",
    **{f"head-{output}/continuous": f"runs/variants/head/{output} --examples 100" for output in OUTPUTS},
    "head-v/steps": "runs/variants/head/v --steps 4 --placement dp --passes 2",
    "head-edm/ode": f"runs/variants/head/edm {ODE} --dequantisation uniform",
    **{f"{s}/continuous": f"runs/variants/scaling/{s} --passes 2" for s in ("VE", "OT", "VE-v", "OT-v")},
    "VE/ode": f"runs/variants/scaling/VE {ODE}",
    "OT/steps": "runs/variants/scaling/OT --steps 4 --kernel mixture --passes 2",
    "grey8/continuous": "runs/grey8 --passes 2",
    "colour8/continuous": "runs/colour8 --passes 2",
    "colour8/steps": "runs/colour8 --steps 4 --kernel mixture --placement dp --passes 2",
    "images/continuous": "runs/images --passes 2",
    "table/exact": "runs/table",
    "table/own-rows": "runs/table --split data/new-rows.csv",
    "table-diffusion/continuous": "runs/table-diffusion",
    "table-diffusion/ode": "runs/table-diffusion --likelihood ode --examples 10 --passes 2 --tolerance 0.001",
    "table-vae/bound": "runs/table-vae",
    "table-energy/importance": "runs/table-energy --likelihood importance --steps 8 --draws 4 --passes 2",
    "table-regression/steps": "runs/table-regressionhead --steps 24 --placement dp --passes 2",
    "folder/continuous": "runs/folder --passes 2",
    "digits-mixture/exact": "runs/digits-mixture",
    "digits-vae/bound": "runs/digits-vae",
    "digits-vae/precision": "runs/digits-vae --precision 0.002 --budget 100",
    "digits-vae/importance": "runs/digits-vae --likelihood importance --draws 8",
    "digits-vae/own-array": "runs/digits-vae --split data/digits.npy",
    **{f"vae-{p}/bound": f"runs/variants/vae/{p}" for p in ("vamp", "aggregate", "conv", "categorical", "bernoulli")},
    "vae-vamp/importance": "runs/variants/vae/vamp --likelihood importance --draws 4",
    "digits-hvae-bottom-up/bound": "runs/digits-hvae-bottom-up",
    "digits-hvae-bottom-up/importance": "runs/digits-hvae-bottom-up --likelihood importance --draws 8",
    "digits-hvae-top-down/bound": "runs/digits-hvae-top-down",
    "digits-hvae-top-down/importance": "runs/digits-hvae-top-down --likelihood importance --draws 8",
    **{f"hvae-{p}/bound": f"runs/variants/hvae/{p} --passes 2" for p in ("joined", "relative", "residual")},
    "hvae-residual/importance": "runs/variants/hvae/residual --likelihood importance --draws 4 --passes 2",
    "digits-ladder/errors": "runs/digits-ladder",
    "stand-in/mnist-vae": "runs/stand-in/mnist-vae --passes 2",
    "stand-in/mnist-hvae": "runs/stand-in/mnist-hvae --passes 2",
    "stand-in/mnist-ladder": "runs/stand-in/mnist-ladder",
}

SAMPLES = {
    "mlp/default": "runs/mlp -n 4",
    **{
        f"mlp/{sampler}": f"runs/mlp -n 4 --steps 8 --sampler {sampler} --seed 1"
        for sampler in ("ancestral", "ddim", "heun", "heun-sde", "dpm2m", "dpm2m-sde")
    },
    "mlp/ode": "runs/mlp -n 4 --sampler ode",
    "mlp/ddim-snr": "runs/mlp -n 4 --steps 8 --sampler ddim --grid snr",
    "mlp/heun-sde-edm": "runs/mlp -n 4 --steps 8 --sampler heun-sde --grid edm",
    "mlp/ancestral-edm-clip": "runs/mlp -n 4 --steps 8 --grid edm --clip",
    "mlp/dpm2m-clip": "runs/mlp -n 4 --steps 8 --grid snr --sampler dpm2m --clip",
    "adaptive/learned-grid": "runs/adaptive -n 4 --steps 8 --grid learned --sampler ddim",
    "labels/none": "runs/labels -n 4 --steps 8",
    "labels/class": "runs/labels -n 4 --steps 8 --class 3",
    "labels/guidance": "runs/labels -n 4 --steps 8 --class 3 --guidance 2",
    "labels/guidance-clip": "runs/labels -n 4 --steps 8 --class 7 --guidance 3 --clip --sampler dpm2m --grid snr",
    "labels/class-ode": "runs/labels -n 4 --class 0 --sampler ode",
    "learned/default": "runs/learned -n 4 --steps 8",
    "per-column/ancestral": "runs/variants/schedule/PerColumn -n 4 --steps 8",
    "mixture-head/ancestral": "runs/variants/head/MixtureHead -n 4 --steps 8",
    "energy/heun": "runs/variants/head/Energy -n 4 --steps 4 --sampler heun",
    "head-edm/heun": "runs/variants/head/edm -n 4 --steps 8 --sampler heun --grid edm",
    "VE/dpm2m-sde": "runs/variants/scaling/VE -n 4 --steps 8 --sampler dpm2m-sde",
    "OT/ddim": "runs/variants/scaling/OT -n 4 --steps 8 --sampler ddim",
    "digits": "runs/digits -n 4 --steps 8",
    "table/mixture": "runs/table -n 20",
    "table/diffusion": "runs/table-diffusion -n 20 --steps 8",
    "digits-mixture": "runs/digits-mixture -n 8",
    "digits-vae": "runs/digits-vae -n 8",
    "vae-vamp": "runs/variants/vae/vamp -n 8",
    "vae-aggregate": "runs/variants/vae/aggregate -n 8",
    "digits-hvae-bottom-up": "runs/digits-hvae-bottom-up -n 8 --seed 2",
    "digits-hvae-top-down": "runs/digits-hvae-top-down -n 8",
    "digits-hvae-top-down/cool": "runs/digits-hvae-top-down -n 8 --temperature 0.5",
    "digits-hvae-top-down/cool-levels": "runs/digits-hvae-top-down -n 8 --temperature 1 0.8 0.6",
    "hvae-residual": "runs/variants/hvae/residual -n 8",
    "hvae-residual/cool": "runs/variants/hvae/residual -n 8 --temperature 0.7",
}

DRAWINGS = {"digits": "runs/digits -n 6 --steps 10", "colour8": "runs/colour8 -n 4 --steps 8"}

DIGITS = "data/digits.npy"
COMPRESSIONS = {
    **{f"mlp/{e}": f"runs/mlp {DIGITS} --effort {e}" for e in ("fast", "normal", "high", "extreme")},
    "mlp/steps-lanes-tries": f"runs/mlp {DIGITS} --steps 3 --lanes 8 --tries 3",
    "mlp/unverified": f"runs/mlp {DIGITS} --effort fast --no-verify",
    "mlp/pictures": "runs/mlp data/pictures --effort fast",
    "mlp/arrays": "runs/mlp data/digits.npz data/digits.idx data/flat.npy --effort fast",
    "mlp/model-carried": f"runs/mlp {DIGITS} --effort fast --embed-model",
    "labels": f"runs/labels {DIGITS} --effort fast",
    "adaptive": f"runs/adaptive {DIGITS} --effort fast",
    "learned": f"runs/learned {DIGITS} --effort fast",
    "per-dimension": f"runs/variants/schedule/LearnedPerDimension {DIGITS} --effort fast",
    "mixture-head": f"runs/variants/head/MixtureHead {DIGITS} --effort fast",
    "head-v": f"runs/variants/head/v {DIGITS} --effort fast",
    "energy": f"runs/variants/head/Energy {DIGITS} --effort fast",
    "VE": f"runs/variants/scaling/VE {DIGITS} --effort fast",
    "OT": f"runs/variants/scaling/OT {DIGITS} --effort fast",
    "colour8": "runs/colour8 data/colour8-few.npy --effort fast",
    "digits-vae": f"runs/digits-vae {DIGITS}",
    "digits-vae/tries": f"runs/digits-vae {DIGITS} --lanes 4 --tries 4",
    **{f"vae-{name}": f"runs/variants/vae/{name} {DIGITS}" for name in ("vamp", "aggregate", "conv", "categorical")},
    "vae-bernoulli": "runs/variants/vae/bernoulli data/binary8-few.npy",
    "digits-hvae-bottom-up": f"runs/digits-hvae-bottom-up {DIGITS}",
    "digits-hvae-top-down": f"runs/digits-hvae-top-down {DIGITS}",
    **{f"hvae-{name}": f"runs/variants/hvae/{name} {DIGITS}" for name in ("joined", "relative", "residual")},
    "digits-mixture": f"runs/digits-mixture {DIGITS}",
    "table/mixture": "runs/table data/table.csv data/rows.csv",
    "table/diffusion": "runs/table-diffusion data/table.csv --effort fast",
    "table/vae": "runs/table-vae data/table.csv",
    "table/regression": "runs/table-regressionhead data/table.csv",
    "table/energy": "runs/table-energy data/table.csv",
}
PREVIEWS = ("mlp/normal", "adaptive")  # compressions that are also decoded for one level only

COMPARISONS = {
    "mlp-adaptive-pixels": "runs/mlp runs/adaptive independent-pixels uniform --examples 100 --passes 2",
    "vae-hvae-mixture": "runs/digits-vae runs/digits-hvae-top-down runs/digits-mixture --passes 2",
    "mixture-mlp": "runs/digits-mixture runs/mlp --split validation --seed 3 --passes 2",
    "labels": "runs/labels runs/variants/other/unconditional-share --examples 60 --passes 2",
    "table": "runs/table runs/table-diffusion runs/table-vae --passes 2",
}
SCORES = {
    "mlp/array": f"runs/mlp {DIGITS}",
    "mlp/typicality": f"runs/mlp {DIGITS} --passes 2 --draws 2 --typicality",
    "mlp/pictures-pixels": "runs/mlp data/pictures-only --passes 2 --draws 4 --background independent-pixels",
    "mlp/lzma": f"runs/mlp {DIGITS} --passes 2 --draws 4 --background lzma",
    "mlp/against-vae": f"runs/mlp {DIGITS} --passes 2 --draws 4 --background runs/digits-vae --seed 5",
    "labels/array": "runs/labels data/digits.npz --passes 2 --draws 4",
    "digits-vae": f"runs/digits-vae {DIGITS} --typicality",
    "digits-hvae-bottom-up": f"runs/digits-hvae-bottom-up {DIGITS} --passes 2",
    "digits-mixture": f"runs/digits-mixture {DIGITS} --background uniform",
    "table": "runs/table data/new-rows.csv",
}
TIGHTNESSES = {
    "mlp/standard": "runs/mlp --steps 6 --draws 4 --examples 12",
    "mlp/mixture": "runs/mlp --steps 4 --draws 4 --examples 12 --kernel mixture --split validation",
    "mlp/moment": "runs/mlp --steps 4 --draws 4 --examples 12 --kernel moment --seed 2",
    "table-diffusion/ode": "runs/table-diffusion --steps 4 --draws 4 --examples 10 --ode",
    "labels": "runs/labels --steps 4 --draws 4 --examples 12 --kernel mixture",
    "digits-vae": "runs/digits-vae --draws 8",
    "digits-hvae-bottom-up": "runs/digits-hvae-bottom-up --draws 8 --examples 40",
    "digits-hvae-top-down": "runs/digits-hvae-top-down --draws 8 --examples 40",
}
REPORTS = ("mlp", "labels", "digits-vae", "digits-hvae-top-down", "digits-mixture", "digits-ladder", "table-diffusion")


def become_vlb(arguments: list[str], folder: Path, out: Path, error: Path) -> None:
    """`python -m vlb` with these arguments, in place of the process that calls it."""
    os.chdir(folder)
    for path, descriptor in ((out, 1), (error, 2)):
        with path.open("wb") as stream:
            os.dup2(stream.fileno(), descriptor)
    sys.argv = ["vlb", *arguments]
    runpy.run_module("vlb", run_name="__main__", alter_sys=True)


def tag(kind: str) -> str:
    """The tag of a part of a model from the name of its class: MinSNRWeightingConfig -> min-snr."""
    stem = re.sub(r"(Head|Weighting|Times|Coder|Prior)?Config$", "", kind)
    words = re.findall(r"[A-Z]+\d*(?=[A-Z][a-z]|$)|[A-Z][a-z]+", stem)
    return {"UNet": "unet", "Conv": "convolutional"}.get(stem, "-".join(words).lower())


EVEN = ("training.optimiser=adamw", "loss.times=low-discrepancy")
ONCE = {"digits": EVEN, "images": (*EVEN, "model.head=posterior")}  # as they were
LOSSES = {"diffusion": "diffusion", "mixture": "mixture", "ladder": "ladder"}  # of other kinds: elbo
OF_LOSS = ("weighting", "times", "decoder_share", "warmup", "free_nats")


def with_loss(override: str) -> list[str]:
    """An override of a model's field as one of its loss where it now belongs there; a model as model and loss."""
    path, _, value = override.partition("=")
    head, _, rest = path.partition(".")
    if head != "model":
        return [override]
    if rest:
        return [f"loss.{rest}={value}" if rest.partition(".")[0] in OF_LOSS else override]
    model = json.loads(value) if value.startswith("{") else {"type": value}
    loss = {"type": LOSSES.get(model["type"], "elbo")}
    if model["type"] in ("hvae", "residual-hvae"):
        loss["warmup"] = 200
    loss |= {name: model.pop(name) for name in OF_LOSS if name in model}
    return [f"model={json.dumps(model)}", f"loss={json.dumps(loss)}"]


class Failed(Exception):
    """A command ended with another status than expected."""


class Workshop:
    """A folder with data, and with runs as they are asked for, in which commands are run."""

    def __init__(self, folder: Path, separate: bool) -> None:
        self.folder, self.separate = folder, separate
        for name in ("runs", "out"):
            (folder / name).mkdir()
        make_data(folder / "data")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._count = 0
        self._trained: dict[str, str] = {}  # and what went wrong, if anything
        self._by_class: bool | None = None  # how parts of a model are called, once that is known

    def vlb(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """What a command prints on standard output and error. Raises `Failed` for another exit status."""
        for word in arguments:
            if word.startswith("runs/"):
                self.train(word.removeprefix("runs/"))
        out, error = self.new(".stdout"), self.new(".stderr")
        if self.separate:
            with out.open("wb") as first, error.open("wb") as second:
                words = [sys.executable, "-m", "vlb", *arguments]
                code: int | None = subprocess.run(words, cwd=self.folder, stdout=first, stderr=second).returncode
        else:
            process = self._context.Process(target=become_vlb, args=(list(arguments), self.folder, out, error))
            process.start()
            process.join()
            code = process.exitcode
        said, complained = out.read_text("utf-8"), error.read_text("utf-8")
        if code != status:
            last = complained.strip().splitlines()[-1:] or ["nothing was said"]
            raise Failed(f"vlb {shlex.join(arguments)}: status {code}, {last[0]}")
        return said, complained

    def called(self, recipe: str) -> str:
        """What a recipe is called: that of discrete tables was `table` until tables could have gaps."""
        now = "discrete-table" if recipe == "table" else recipe
        return now if now in recipe_names(self, "")["names"] else recipe

    def train(self, name: str) -> Path:
        """The run of a training, made when it is first asked for."""
        path = self.folder / "runs" / name
        if name not in self._trained:
            path.parent.mkdir(parents=True, exist_ok=True)
            training = TRAININGS[name]
            words = ["train", self.called(training.recipe)]
            words += ["--data", training.data] if training.data else []
            words += ["--condition", "labels"] if training.labels else []
            for override in self.spelled(training):
                words += ["--set", override]
            try:
                self.vlb(*words, "--out", str(path))
                self._trained[name] = ""
            except Failed as failure:
                self._trained[name] = str(failure)
        if self._trained[name]:
            raise Failed(self._trained[name])
        return path

    def spelled(self, training: Training) -> list[str]:
        """Overrides in the words of this vlb: parts of a model were called by their classes once, and now are by tags;
        what a loss is made of was the model's once; and recipes had other defaults."""
        if self._by_class is None:
            self._by_class = "UNetConfig" in self.vlb("train", "digits", "--set", "model.backbone=none", status=2)[1]
        if self._by_class:
            return list(training.overrides)
        tagged = (
            re.sub(r"\b[A-Z]\w*Config\b", lambda found: tag(found[0]), override) for override in training.overrides
        )
        return [*ONCE.get(training.recipe, ()), *(part for override in tagged for part in with_loss(override))]

    def new(self, suffix: str) -> Path:
        """An absolute path that no command has written to."""
        self._count += 1
        return self.folder / "out" / f"{self._count}{suffix}"


def make_data(folder: Path) -> None:
    """Arrays, pictures and tables, the same each time."""
    from PIL import Image
    from sklearn.datasets import load_digits

    generator = np.random.default_rng(0)
    folder.mkdir()
    np.save(folder / "grey8.npy", smooth(generator, 400, 1, 8))
    np.save(folder / "colour8.npy", smooth(generator, 400, 3, 8))
    np.save(folder / "colour8-few.npy", smooth(generator, 20, 3, 8))
    np.save(folder / "colour32.npy", smooth(generator, 60, 3, 32))
    np.savez(folder / "grey28.npz", x=smooth(generator, 300, 1, 28), labels=generator.integers(0, 10, 300))
    np.savez(folder / "binary28.npz", x=smooth(generator, 500, 1, 28) // 128, levels=np.array(2))
    np.savez(folder / "binary8.npz", x=smooth(generator, 500, 1, 8) // 128, levels=np.array(2))
    np.save(folder / "binary8-few.npy", smooth(generator, 40, 1, 8) // 128)

    digits = load_digits()
    x, labels = digits.images.astype(np.uint8)[:, None], digits.target
    np.save(folder / "digits.npy", x[:40])
    np.savez(folder / "digits.npz", x=x[40:80], labels=labels[40:80])
    np.save(folder / "many.npy", np.concatenate([x, x])[:2100])
    np.save(folder / "flat.npy", x[80:100].reshape(20, 64).astype(np.int64))
    (folder / "digits.idx").write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, 20, 8, 8) + x[100:120].tobytes())
    for name in ("pictures", "pictures-only"):
        (folder / name).mkdir()
        for i in range(16):
            Image.fromarray(x[120 + i, 0]).save(folder / name / f"{i:02}.png")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "pictures" / "small.png")
    (folder / "pictures" / "notes.txt").write_text("stored as it is\n" * 20)

    rows, new = table_rows(generator, 500), table_rows(generator, 120)
    header = "colour,size,count,odd"
    (folder / "table.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "new-rows.csv").write_text("\n".join([header, *new]) + "\n")
    # The same with a cell that no model knows.
    (folder / "rows.csv").write_text("\n".join([header, *new, "violet,small,0,0"]) + "\n")


def smooth(generator: np.random.Generator, count: int, channels: int, size: int) -> np.ndarray:
    """Pictures (count, channels, size, size) of 256 levels in which neighbours are alike."""
    coarse = generator.integers(0, 256, (count, channels, 4, 4))
    fine = coarse.repeat(-(-size // 4), 2).repeat(-(-size // 4), 3)[:, :, :size, :size]
    pixels: np.ndarray = np.clip(fine + generator.integers(-12, 13, fine.shape), 0, 255).astype(np.uint8)
    return pixels


def table_rows(generator: np.random.Generator, count: int) -> list[str]:
    """Rows of four columns that depend on each other."""
    rows = []
    for _ in range(count):
        size, number = int(generator.integers(3)), int(generator.binomial(6, 0.4))
        colour = ("red", "green", '"light, blue"')[(size + int(generator.random() < 0.2)) % 3]
        rows.append(f"{colour},{('small', 'medium', 'large')[size]},{number},{number % 2}")
    return rows


def digest(content: bytes | np.ndarray) -> str:
    """The beginning of a SHA-256, of an array with its type and shape."""
    if isinstance(content, np.ndarray):
        content = f"{content.dtype.str}{content.shape}".encode() + np.ascontiguousarray(content).tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def contents(path: Path) -> dict[str, str]:
    """Digest of what every file holds, by path: of pictures and packed arrays, pixels and numbers."""
    from PIL import Image

    found = {}
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        name = str(file.relative_to(path.parent))
        if file.suffix in PICTURES:
            with Image.open(file) as image:
                found[name] = digest(np.asarray(image))
        elif file.suffix == ".npz":
            with np.load(file) as archive:
                found[name] = digest("".join(key + digest(archive[key]) for key in archive.files).encode())
        elif file.is_file():
            found[name] = digest(file.read_bytes())
    return found


def training_numbers(shop: Workshop, name: str) -> Found:
    """Losses of every step, what validation said, and digests of the averaged weights."""
    from safetensors.numpy import load_file

    path = shop.train(name)
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    recorded = [line for line in lines if "validation" not in line]
    ignored = ("step", "seconds", "gradient_norm", "learning_rate", "skipped", "note")
    losses = [next(value for key, value in line.items() if key not in ignored) for line in recorded]
    norms = [line["gradient_norm"] for line in recorded if math.isfinite(line["gradient_norm"])]
    tensors = load_file(path / "checkpoints" / "last.safetensors")
    averages = sorted(digest(tensor) for key, tensor in tensors.items() if key.startswith(AVERAGES))
    return {
        "losses": losses,
        "mean_gradient_norm": sum(norms) / len(norms),
        "last_gradient_norm": norms[-1],
        "skipped": recorded[-1]["skipped"],
        "validation": [line["validation"] for line in lines if "validation" in line],
        "informative": {"weights": digest("".join(averages).encode())},
    }


def evaluation_numbers(shop: Workshop, words: str) -> Found:
    """The JSON of `vlb evaluate`, without paths and without the fitted plan of its draws."""
    out, values = shop.new(".json"), shop.new(".npz")
    kept = [] if "ladder" in words else ["--values", str(values)]  # a file of its own: nothing earlier is gone on with
    shop.vlb("evaluate", *shlex.split(words), "--json", str(out), *kept)
    found = as_found(out.read_text())
    found = {key: value for key, value in found.items() if key not in LEFT_OUT}
    if found.get("estimator"):
        found["estimator"].pop("plan", None)
    return found


def continued_numbers(shop: Workshop, _: str) -> Found:
    """A precision that is not reached, and then more passes that go on from what was kept of it."""
    values, out = shop.new(".npz"), shop.new(".json")
    shop.vlb("evaluate", "runs/mlp", "--values", str(values), "--precision", "1e-6", "--budget", "3", status=2)
    shop.vlb("evaluate", "runs/mlp", "--values", str(values), "--passes", "5", "--json", str(out))
    found = as_found(out.read_text())
    return {key: found[key] for key in ("bits_per_dim", "se_data", "se_monte_carlo", "terms", "passes")}


def sample_numbers(shop: Workshop, words: str) -> Found:
    """Digest and mean of samples as an array."""
    out = shop.new(".npz")
    shop.vlb("sample", *shlex.split(words), "-o", str(out))
    with np.load(out) as archive:
        x = archive["x"]
    return {"shape": list(x.shape), "mean": float(x.mean()), "digest": digest(x)}


def drawing_numbers(shop: Workshop, words: str) -> Found:
    """Digest of the pixels of a picture of samples."""
    from PIL import Image

    out = shop.new(".png")
    shop.vlb("sample", *shlex.split(words), "-o", str(out))
    with Image.open(out) as image:
        x = np.asarray(image)
    return {"shape": list(x.shape), "mean": float(x.mean()), "digest": digest(x)}


def compression_numbers(shop: Workshop, text: str) -> Found:
    """Size of an archive, what `vlb inspect --account` says of it, and whether what comes out is what went in."""
    words = shlex.split(text)
    run, inputs = words[0], [word for word in words[1:] if word.startswith("data/")]
    archive, restored = shop.new(".vlb"), shop.new("-restored")
    shop.train(run.removeprefix("runs/"))
    (shop.folder / run / "coding.json").unlink(missing_ok=True)  # where choices are kept: none of an earlier command
    shop.vlb("compress", *words, "-o", str(archive))
    carried = "--embed-model" in words
    model = [] if carried else ["--model", run]
    shop.vlb("decompress", str(archive), *model, "-o", str(restored))
    before = {key: value for name in inputs for key, value in contents(shop.folder / name).items()}
    after = {key.partition("/")[2]: value for key, value in contents(restored).items()}
    size = archive.stat().st_size
    return {
        "bytes": None if carried else size,
        "equal": before == after,
        "contents": digest(json.dumps(sorted(after.items())).encode()),
        "account": printed_rows(shop.vlb("inspect", str(archive), "--account", *model)[0]),
        "informative": {"archive": digest(archive.read_bytes()), "bytes": size},
    }


def preview_numbers(shop: Workshop, text: str) -> Found:
    """What is known after one level of an archive, and what is left of it when it is damaged."""
    words = shlex.split(text)
    archive, preview, salvaged = shop.new(".vlb"), shop.new("-preview"), shop.new("-salvaged")
    shop.vlb("compress", *words, "data/flat.npy", "-o", str(archive))
    shop.vlb("decompress", str(archive), "--model", words[0], "-o", str(preview), "--stop-after", "1")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    damaged = ("decompress", str(archive), "--model", words[0], "-o", str(salvaged), "--salvage")
    shop.vlb(*damaged, status=2)
    named = {"preview": preview, "salvaged": salvaged}
    return {
        key: {file.partition("/")[2]: value for file, value in contents(path).items()} for key, path in named.items()
    }


def comparison_numbers(shop: Workshop, words: str) -> Found:
    """The JSON of `vlb compare`, and whether there is a page."""
    out, page = shop.new(".json"), shop.new(".html")
    shop.vlb("compare", *shlex.split(words), "--json", str(out), "-o", str(page))
    return {**as_found(out.read_text()), "page": page.is_file()}


def kept_comparison_numbers(shop: Workshop, _: str) -> Found:
    """The JSON of `vlb compare` of values that `vlb evaluate` has kept with a run."""
    values, out = shop.new(".npz"), shop.new(".json")
    shop.vlb("evaluate", "runs/digits-vae", "--values", str(values))
    shop.vlb("compare", str(values), "runs/digits-mixture", "independent-pixels", "--json", str(out))
    text = out.read_text().replace(str(values), "values.npz").replace(values.name, "values.npz")
    return as_found(text)


def score_numbers(shop: Workshop, words: str) -> Found:
    """The columns that `vlb score` writes."""
    out = shop.new(".csv")
    shop.vlb("score", *shlex.split(words), "-o", str(out))
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = {name: [float(row[name]) for row in rows] for name in rows[0] if name != "name"}
    # Some values, and the mean of all.
    return {name: [*values[:12], math.fsum(values) / len(values)] for name, values in columns.items()}


def tightness_numbers(shop: Workshop, words: str) -> Found:
    """The JSON of `vlb tightness`."""
    out = shop.new(".json")
    shop.vlb("tightness", *shlex.split(words), "--json", str(out))
    return as_found(out.read_text())


def report_numbers(shop: Workshop, run: str) -> Found:
    """The number that `vlb report` states, if its page is there."""
    said = re.search(r"([\d.]+)(?: bits/dim|% errors)", shop.vlb("report", run)[1])
    page = shop.folder / run / "report.html"
    return {"stated": float(said[1]) if said else None, "page": page.is_file()}


def recipe_names(shop: Workshop, _: str) -> Found:
    """The names of `vlb recipes`."""
    return {"names": [line.split()[0] for line in shop.vlb("recipes")[0].splitlines()]}


def printed_rows(text: str) -> dict[str, list[float]]:
    """The numbers in the rows of printed tables by their first cells, without speeds and what is the machine's."""
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        first, *others = [cell.strip() for cell in line.strip("│┃ \n").split("│")]
        if others and first and first not in ("model", "computed in", "encoding", "decoding"):
            numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", " ".join(others))
            found.setdefault(first, []).extend(float(number.replace(",", "")) for number in numbers)
    return found


def as_found(text: str) -> Found:
    """A JSON object."""
    found: Found = json.loads(text)
    return found


Numbers = Callable[[Workshop, str], Found]


def tasks() -> dict[str, tuple[Numbers, str]]:
    """Everything that is measured, by name: how, and of what."""
    tables: tuple[tuple[str, dict[str, str], Numbers], ...] = (
        ("train", {name: name for name in TRAININGS}, training_numbers),
        ("evaluate", EVALUATIONS, evaluation_numbers),
        ("sample", SAMPLES, sample_numbers),
        ("picture", DRAWINGS, drawing_numbers),
        ("compress", COMPRESSIONS, compression_numbers),
        ("preview", {name: COMPRESSIONS[name] for name in PREVIEWS}, preview_numbers),
        ("compare", COMPARISONS, comparison_numbers),
        ("score", SCORES, score_numbers),
        ("tightness", TIGHTNESSES, tightness_numbers),
        ("report", {name: f"runs/{name}" for name in REPORTS}, report_numbers),
    )
    every = {f"{command}/{name}": (numbers, of) for command, table, numbers in tables for name, of in table.items()}
    every["recipes"] = recipe_names, ""
    every["evaluate/mlp/continued"] = continued_numbers, ""
    every["compare/kept-values"] = kept_comparison_numbers, ""
    return every


def measured(only: str, separate: bool) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Entries, informative entries, and the names of those that failed, of all tasks with `only` in their names."""
    for variable in THREADS:
        os.environ[variable] = "1"
    os.environ |= {"COLUMNS": "200", "CUDA_VISIBLE_DEVICES": ""}
    entries: dict[str, Any] = {}
    informative: dict[str, Any] = {}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(Path(folder).resolve(), separate)
        for name, (numbers, of) in tasks().items():
            if only not in name:
                continue
            started = time.monotonic()
            try:
                found = numbers(shop, of)
            except (Failed, *WRONG) as failure:
                failed.append(name)
                print(f"{name} failed: {failure!r}", flush=True)
                continue
            informative |= {f"{name}/{key}": value for key, value in found.pop("informative", {}).items()}
            entries[name] = found
            print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return entries, informative, failed


def about() -> dict[str, str]:
    """Of what and where the numbers are."""
    spec = importlib.util.find_spec("vlb")
    assert spec is not None and spec.origin is not None
    words = ["git", "-C", str(Path(spec.origin).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    commit = subprocess.run(words, capture_output=True, text=True).stdout.strip()
    return {"commit": commit or "unknown", "torch": importlib.metadata.version("torch"), "cpu": processor()}


def processor() -> str:
    """The processor as the system calls it."""
    try:
        lines = dict(line.split("\t: ", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if "\t: " in line)
        fields = {key.strip(): value for key, value in lines.items()}
        return f"{fields['model name']}, family {fields['cpu family']}, model {fields['model']}"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def write(path: Path, entries: dict[str, Any], informative: dict[str, Any]) -> None:
    """JSON with a line per entry."""

    def lines(section: dict[str, Any]) -> str:
        each = (f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in section.items())
        return "{\n" + ",\n".join(each) + "\n}"

    sections = {"about": about(), "entries": entries, "informative": informative}
    text = ",\n".join(f"{json.dumps(name)}: {lines(section)}" for name, section in sections.items())
    path.write_text("{\n" + text + "\n}\n")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and text in nested dictionaries and lists, with where it is."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def distance(old: Any, new: Any) -> float:
    """0 where two leaves are equal to the last bit, else their relative difference, infinite if not numbers."""
    if json.dumps(old) == json.dumps(new):
        return 0.0
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new)):
        return math.inf
    if not (math.isfinite(old) and math.isfinite(new)):
        return math.inf
    if old == new:  # 0.0 and -0.0, 1 and 1.0
        return sys.float_info.min
    return float(abs(old - new) / max(abs(old), abs(new)))


def compared(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Print what differs between entries, and how much is equal; whether everything is, within `CLOSE`."""
    equal = close = different = 0
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            different += 1
            print(f"{name}: only {'made now' if name in new else 'in the file'}")
            continue
        before, after = dict(leaves(old[name])), dict(leaves(new[name]))
        for where in before | after:
            if where not in before or where not in after:
                different += 1
                print(f"{name}, {where}: only {'made now' if where in after else 'in the file'}")
                continue
            far = distance(before[where], after[where])
            equal, close, different = equal + (far == 0), close + (0 < far <= CLOSE), different + (far > CLOSE)
            if far > 0:
                verdict = "DIFFERENT" if far > CLOSE else "close"
                print(f"{name}, {where}: {verdict}, {before[where]!r} became {after[where]!r} (relative {far:.1e})")
    print(f"{equal} equal to the last bit, {close} within {CLOSE:g} of their size, {different} different or missing")
    return not different


def renamed(text: str) -> str:
    """A file of numbers with today's words where those of before had two meanings."""
    for before, after in RENAMED.items():
        text = text.replace(before, after)
    return text


def check(path: Path, only: str, separate: bool) -> bool:
    """Make the numbers again and compare them with a file; whether they agree."""
    kept = json.loads(renamed(path.read_text()))
    print(f"{path.name} is of {kept['about']}; here: {about()}")
    if any(kept["about"][key] != about()[key] for key in ("torch", "cpu")):
        print("another processor or torch: numbers need not be equal to the bit; make the file here first")
    entries, informative, failed = measured(only, separate)
    expected = {name: value for name, value in kept["entries"].items() if only in name}
    agree = compared(expected, entries)
    noted = {name: value for name, value in kept["informative"].items() if name.rpartition("/")[0] in entries}
    changed = [name for name, value in informative.items() if noted.get(name) != value]
    print(f"informative: {len(informative) - len(changed)} digests are equal, {len(changed)} are not")
    for name in changed:
        print(f"  {name}")
    return agree and not failed


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make reference numbers, or check that they are still the same.")
    parser.add_argument("action", choices=("make", "check"))
    parser.add_argument("file", nargs="?", type=Path, default=BESIDE, help="what to check against")
    parser.add_argument("--out", type=Path, default=BESIDE, help="what to make")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="entries with this in their names")
    parser.add_argument("--separate", action="store_true", help="start a new interpreter for each command")
    options = parser.parse_args()
    if options.action == "check":
        sys.exit(0 if check(options.file, options.only, options.separate) else 1)
    if options.only and options.out == BESIDE:
        parser.error("a part needs a file of its own: --out FILE")
    if not options.out.absolute().parent.is_dir():
        parser.error(f"there is no folder for {options.out}")
    entries, informative, failed = measured(options.only, options.separate)
    write(options.out, entries, informative)
    print(f"{len(entries)} entries in {options.out}" + (f"; {len(failed)} failed" if failed else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
