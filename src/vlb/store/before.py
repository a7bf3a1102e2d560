"""What earlier formats of runs and archives said, in today's words. Nothing else in the library knows them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from vlb.base import configuration
from vlb.core.layouts import Vector
from vlb.core.schema import Categories, Column, Schema, levels_schema
from vlb.store.checkpoint import Checkpoint
from vlb.store.identity import identity as today
from vlb.store.identity import take_in

FIRST, SECOND = 1, 2

TAGS = {
    "LogSNRLinearConfig": "log-snr-linear",
    "LinearBetaConfig": "linear-beta",
    "CosineConfig": "cosine",
    "InterpolatedCosineConfig": "interpolated-cosine",
    "OptimalTransportConfig": "optimal-transport",
    "SigmoidConfig": "sigmoid",
    "EDMConfig": "edm",
    "LearnedConfig": "learned",
    "LearnedPerDimensionConfig": "learned-per-dimension",
    "PerColumnConfig": "per-column",
    "LikelihoodWeightingConfig": "likelihood",
    "SigmoidWeightingConfig": "sigmoid",
    "NoiseLinearBetaWeightingConfig": "noise-linear-beta",
    "NoiseCosineWeightingConfig": "noise-cosine",
    "VelocityCosineWeightingConfig": "velocity-cosine",
    "FlowMatchingWeightingConfig": "flow-matching",
    "RectifiedFlowWeightingConfig": "rectified-flow",
    "InversionWeightingConfig": "inversion",
    "EDMWeightingConfig": "edm",
    "EDMMonotonicWeightingConfig": "edm-monotonic",
    "P2WeightingConfig": "p2",
    "MinSNRWeightingConfig": "min-snr",
    "UncertaintyWeightingConfig": "uncertainty",
    "LowDiscrepancyTimesConfig": "low-discrepancy",
    "UniformTimesConfig": "uniform",
    "ScheduleTimesConfig": "schedule",
    "AdaptiveTimesConfig": "adaptive",
    "LeastVarianceTimesConfig": "least-variance",
    "WarpedTimesConfig": "warped",
    "MLPConfig": "mlp",
    "UNetConfig": "unet",
    "PosteriorHeadConfig": "posterior",
    "MixtureHeadConfig": "mixture",
    "RegressionHeadConfig": "regression",
    "EnergyConfig": "energy",
    "DenseCoderConfig": "dense",
    "ConvCoderConfig": "convolutional",
    "BernoulliConfig": "bernoulli",
    "CategoricalConfig": "categorical",
    "DiscretisedLogisticConfig": "discretised-logistic",
    "GaussianConfig": "gaussian",
    "StandardPriorConfig": "standard",
    "VampPriorConfig": "vamp",
    "AggregatePriorConfig": "aggregate",
    "DiffusionConfig": "diffusion",
    "VAEConfig": "vae",
    "HVAEConfig": "hvae",
    "ResidualHVAEConfig": "residual-hvae",
    "MixtureConfig": "mixture",
    "LadderConfig": "ladder",
}
LOSSES = {
    "diffusion": ("diffusion", ("weighting", "times", "decoder_share")),
    "vae": ("elbo", ("warmup", "free_nats")),
    "hvae": ("elbo", ("warmup", "free_nats")),
    "residual-hvae": ("elbo", ("warmup", "free_nats")),
    "mixture": ("mixture", ()),
    "ladder": ("ladder", ()),
}
UNTAGGED = ("Experiment", "DataConfig", "TrainingConfig")


def updated(content: dict[str, Any], where: str) -> dict[str, Any]:
    """A `config.json`, or what an archive says of the model it carries, in today's format; where: it is from, in words.

    Raises `KeyError`, `TypeError` or `ValueError` for what is of none, `UserError` for a schema that makes no sense.
    """
    if content["format"] == FIRST:
        content = run(content)
    if content["format"] == SECOND:
        content = {**shared(content, where), "format": SECOND + 1}
    return content


def is_first(content: Mapping[str, Any]) -> bool:
    """Whether a `config.json` in today's format was written in the first."""
    return "before" in content and content["before"].get("format", FIRST) == FIRST


def run(content: dict[str, Any]) -> dict[str, Any]:
    """A `config.json` of the first format in the second's. Raises as `updated`."""
    written, described = dict(content["experiment"]), dict(content["data"])
    experiment = _tagged(written)
    condition = experiment.pop("condition", "none")
    model = experiment.pop("model")
    kind, names = LOSSES[model["type"]]
    experiment["loss"] = {"type": kind, **{name: model.pop(name) for name in names if name in model}}
    if model["type"] == "diffusion":
        model["condition"] = condition
        head = model["head"]
        if head["type"] == "regression":
            scale = {"sigma_data": head.pop("sigma_data")} if head["output"] == "edm" else {}
            model["head"] = {"type": "regression", "output": {"type": head["output"], **scale}}
    return {
        "format": SECOND,
        "model": model,
        "schema": configuration.encode(_schema(described)),
        "data": {"name": described["name"], "fingerprint": described["fingerprint"]},
        "experiment": experiment,
        "before": {"model": written["model"], "condition": condition, "data": described},
    }


def shared(content: dict[str, Any], where: str) -> dict[str, Any]:
    """Sections of the second format in today's. Raises as `updated`.

    Columns of a table shared the largest number of levels, so those of fewer are filled up with cells that never were.
    """
    schema = configuration.decode(Schema, dict(content["schema"]), f"{where}: schema")
    if schema.columns is None or len({column.kind.count for column in schema.columns}) < 2:
        return content
    filled = []
    for column in schema.columns:
        if not isinstance(column.kind, Categories):
            return content
        missing = tuple(f"(no cell {k})" for k in range(len(column.values), schema.levels))
        filled.append(replace(column, kind=replace(column.kind, values=column.values + missing)))
    written = {"format": SECOND, "model": content["model"], "schema": content["schema"]}
    return {
        **content,
        "schema": configuration.encode(replace(schema, kinds=tuple(filled))),
        "before": content.get("before", written),
    }


def tensors(stored: Checkpoint) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint, those of the loss among them."""
    return stored.section("ema")


def identity(earlier: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The digest by which archives of an earlier format name their model."""
    if earlier.get("format") == SECOND:
        return today(earlier["model"], earlier["schema"], tensors)
    described = earlier["data"]
    said = {name: described[name] for name in ("shape", "levels", "classes")}
    model = dict(earlier["model"])
    if "em_steps" in model:  # a mixture was named without the steps that had fitted it
        model["em_steps"] = 0
    said |= {"model": model, "condition": earlier["condition"]}
    if "columns" in described:
        said["columns"] = described["columns"]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    take_in(digest, tensors)
    return digest.digest()


def _schema(described: Mapping[str, Any]) -> Schema:
    counts = [described["levels"], *described["shape"]]
    counts += [] if described["classes"] is None else [described["classes"]]
    if not all(type(count) is int and count > 0 for count in counts):
        raise ValueError("levels, shape and classes of data are whole numbers above 0")
    if described.get("columns") is None:
        return levels_schema(tuple(described["shape"]), described["levels"], described["classes"])
    columns = tuple(Column(str(name), Categories(tuple(map(str, values)))) for name, *values in described["columns"])
    return Schema(layout=Vector(tuple(described["shape"])), kinds=columns)


def _tagged(value: Any) -> Any:
    """Configurations under their tags, where they were under the names of classes."""
    if isinstance(value, list):
        return [_tagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: _tagged(item) for name, item in value.items() if name != "type"}
    name = value.get("type")
    return found if name is None or name in UNTAGGED else {"type": TAGS.get(name, name), **found}
