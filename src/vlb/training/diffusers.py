"""What the package diffusers writes of a pixel-space model: a folder with JSON and safetensors, read without running
anything of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from vlb.base.configuration import decode
from vlb.base.errors import UserError
from vlb.models.diffusion.parameterization import Data, Noise, Parameterization, Velocity
from vlb.models.diffusion.schedules import AnySteps, CosineSteps, LinearSteps, ScaledLinearSteps
from vlb.nn.unet2d import UNet2D
from vlb.store.places import fetched

WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES = ("*.json", "unet/*.json", "scheduler/*.json", WEIGHTS, f"unet/{WEIGHTS}")
OUTPUTS: Mapping[str, Parameterization] = {"epsilon": Noise(), "v_prediction": Velocity(), "sample": Data()}
SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")
USUAL: dict[str, Any] = {  # of both schedulers, where their file does not say
    "num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "trained_betas": None,
    "prediction_type": "epsilon", "rescale_betas_zero_snr": False, "variance_type": "fixed_small",
    "clip_sample": True, "thresholding": False,
}  # fmt: skip
LATENT = ("vae", "vqvae", "movq", "vqmodel")
# What a UNet2DModel may be told or be made of that `UNet2D` does not have, with its value where it is not used.
UNUSED: dict[str, Any] = {"class_embed_type": None, "time_embedding_type": "positional"}
EARLIER = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


@dataclass(frozen=True)
class Public:
    """A model as it was published. size: height and width, None for any; notes: what vlb does otherwise."""

    folder: Path
    network: UNet2D
    weights: dict[str, Tensor]
    channels: int
    size: tuple[int, int] | None
    steps: AnySteps
    output: Parameterization
    notes: tuple[str, ...]


def places_of(source: str | Path) -> Path:
    """The folder of a model by its path, or by `hf:owner/name` a copy of what is read of it."""
    kind, _, name = str(source).partition(":")
    return fetched(name, FILES) if kind == "hf" and not Path(source).exists() else Path(source)


def read(folder: Path) -> Public:
    """The model in a folder. Raises `UserError` for what is not there, damaged, or not of a kind that vlb runs."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give one that diffusers has saved, or hf:owner/name")
    _refuse_pipeline(folder)
    unet, scheduler = (inner if (inner := folder / name).is_dir() else folder for name in ("unet", "scheduler"))
    config = _object(unet / "config.json")
    network = _network(config, unet / "config.json")
    steps, output, notes = _process(scheduler / "scheduler_config.json")
    channels, size = config.get("in_channels", 3), config.get("sample_size")
    if not isinstance(channels, int) or channels != config.get("out_channels", 3):
        raise UserError(
            f"{unet}: from {channels} to {config.get('out_channels', 3)} channels: a network that learns its variance, "
            "or is told other pictures, is not imported"
        )
    sides = [size, size] if isinstance(size, int) else size
    if sides is not None and not (
        isinstance(sides, list) and len(sides) == 2 and all(isinstance(n, int) for n in sides)
    ):
        raise UserError(f"{unet / 'config.json'}: sample_size should be a height and a width, not {size!r}")
    weights = _weights(unet / WEIGHTS)
    return Public(
        folder, network, weights, channels, None if sides is None else (sides[0], sides[1]), steps, output, notes
    )


def _refuse_pipeline(folder: Path) -> None:
    """Raises `UserError` for a pipeline with more than a network and a scheduler."""
    index = folder / "model_index.json"
    parts = _object(index) if index.is_file() else {}
    others = sorted(name for name in parts if not name.startswith("_") and name not in ("unet", "scheduler"))
    if any(name in LATENT for name in others):
        raise UserError(f"{folder} is of latents, not of pixels ({', '.join(others)}): it has no bits per pixel")
    if others:
        raise UserError(f"{folder} has {', '.join(others)} beside its network, such as for text: it is not imported")


def _network(config: dict[str, Any], where: Path) -> UNet2D:
    kind = config.get("_class_name", "UNet2DModel")
    if kind != "UNet2DModel":
        raise UserError(f"{where} is of a {kind}: of diffusers' networks, a UNet2DModel is imported")
    for name, usual in UNUSED.items():
        if config.get(name, usual) != usual:
            raise UserError(f"{where}: {name}={config[name]!r} is not imported, {usual!r} alone")
    known = {field.name for field in fields(UNet2D)}
    network: UNet2D = decode(UNet2D, {name: value for name, value in config.items() if name in known}, str(where))
    return network


def _process(file: Path) -> tuple[AnySteps, Parameterization, tuple[str, ...]]:
    """The steps, what the network says, and what a sampler of vlb does otherwise than the scheduler."""
    if not file.is_file():
        raise UserError(f"there is no {file}: how the model was trained is said by its scheduler; save it beside it")
    written = _object(file)
    kind = written.get("_class_name", SCHEDULERS[0])
    if kind not in SCHEDULERS:
        raise UserError(f"{file} is of a {kind}: of diffusers' schedulers, {' and '.join(SCHEDULERS)} are imported")
    said = {**USUAL, **written}
    if written.get("predict_epsilon") is False:  # as it was written before there was prediction_type
        said["prediction_type"] = "sample"
    for name in ("trained_betas", "rescale_betas_zero_snr"):
        if said[name]:
            raise UserError(f"{file}: {name} is not imported: a schedule has a rule, and ends above no signal at all")
    if "learned" in str(said["variance_type"]):
        raise UserError(f"{file}: variance_type={said['variance_type']!r}: a learned variance is not imported")
    predicted, betas = str(said["prediction_type"]), str(said["beta_schedule"])
    if predicted not in OUTPUTS:
        raise UserError(f"{file}: prediction_type={predicted!r} is none of {', '.join(OUTPUTS)}")
    first, last, count = said["beta_start"], said["beta_end"], said["num_train_timesteps"]
    rules = {
        "linear": (LinearSteps, {"first": first, "last": last}),
        "scaled_linear": (ScaledLinearSteps, {"first": first, "last": last}),
        "squaredcos_cap_v2": (CosineSteps, {}),
    }
    if betas not in rules:
        raise UserError(f"{file}: beta_schedule={betas!r} is none of {', '.join(rules)}")
    rule, values = rules[betas]
    try:
        steps = rule(count=count, **values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    clipped = said["clip_sample"] or said["thresholding"]
    note = "its scheduler clips what the network predicts: `vlb sample --clip` does, bounds are of the network as it is"
    return steps, OUTPUTS[predicted], (note,) if clipped else ()


def _weights(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        others = sorted(path.name for path in file.parent.glob("*.bin")) if file.parent.is_dir() else []
        mend = (
            f"; {', '.join(others)} would have to be unpickled, which can run anything: where you trust it, save it "
            "anew with diffusers, as safetensors"
            if others
            else ": save the model as one file of safetensors"
        )
        raise UserError(f"there is no {file}{mend}")
    try:
        found = load(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{file} is damaged ({error}): fetch it again") from error
    return {_renamed(name): tensor for name, tensor in found.items()}


def _renamed(name: str) -> str:
    """As layers of attention are called now."""
    for before, now in EARLIER.items():
        name = name.replace(before, now)
    return name


def _object(file: Path) -> dict[str, Any]:
    """What a JSON file holds. Raises `UserError` where that is no object."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON ({error}): fetch it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} should hold an object, not {type(content).__name__}")
    return content
