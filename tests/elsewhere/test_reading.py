"""What of a folder of diffusers is read, and what is refused: without that package."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import vlb
from tests.commands.test_cli import vlb as command
from vlb.base.errors import UserError
from vlb.models.diffusion.parameterization import Data, Noise, Velocity
from vlb.models.diffusion.schedules import CosineSteps, LinearSteps, ScaledLinearSteps
from vlb.training.diffusers import WEIGHTS, read

UNET = {"_class_name": "UNet2DModel", "in_channels": 1, "out_channels": 1, "sample_size": 8, "block_out_channels": [16]}
SCALED = ScaledLinearSteps(first=1e-4, last=0.02)
SCHEDULER = {"_class_name": "DDPMScheduler", "clip_sample": False}


def saved(folder: Path, unet: dict[str, Any] | None = None, scheduler: dict[str, Any] | None = None) -> Path:
    """A pipeline's folder, with weights that are of no network."""
    for name, content in (("unet/config", {**UNET, **(unet or {})}), ("scheduler/scheduler_config", scheduler)):
        file = folder / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**SCHEDULER, **(scheduler or {})} if "scheduler" in name else content))
    save_file({"mid_block.attentions.0.query.weight": torch.ones(2)}, folder / "unet" / WEIGHTS)
    return folder


@pytest.mark.parametrize(
    ("scheduler", "steps", "output"),
    [
        ({}, LinearSteps(), Noise()),
        ({"num_train_timesteps": 9, "beta_start": 0.1}, LinearSteps(count=9, first=0.1, last=0.02), Noise()),
        ({"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"}, SCALED, Noise()),
        ({"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}, CosineSteps(), Velocity()),
        ({"prediction_type": "sample"}, LinearSteps(), Data()),
        ({"predict_epsilon": False}, LinearSteps(), Data()),
    ],
)  # fmt: skip
def test_a_scheduler_says_steps_and_what_is_predicted(
    scheduler: dict[str, Any], steps: Any, output: Any, tmp_path: Path
) -> None:
    found = read(saved(tmp_path / "m", scheduler=scheduler))
    assert (found.steps, found.output, found.channels, found.size) == (steps, output, 1, (8, 8))
    assert list(found.weights) == ["mid_block.attentions.0.to_q.weight"] and not found.notes


def test_clipping_is_said(tmp_path: Path) -> None:
    (note,) = read(saved(tmp_path / "m", scheduler={"clip_sample": True})).notes
    assert "vlb sample --clip" in note


def test_a_model_beside_its_scheduler_is_read_too(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    for file in (*(folder / "unet").iterdir(), *(folder / "scheduler").iterdir()):
        file.rename(folder / file.name)
    (folder / "unet").rmdir(), (folder / "scheduler").rmdir()
    assert read(folder).steps == LinearSteps()


@pytest.mark.parametrize(
    ("unet", "scheduler", "message"),
    [
        ({"_class_name": "UNet2DConditionModel"}, {}, "of a UNet2DConditionModel: .* a UNet2DModel is imported"),
        ({"num_class_embeds": -1}, {}, "num_class_embeds: expected a whole number"),
        ({"class_embed_type": "timestep"}, {}, "class_embed_type='timestep' is not imported"),
        ({"time_embedding_type": "fourier"}, {}, "time_embedding_type='fourier' is not imported, 'positional' alone"),
        ({"down_block_types": ["AttnSkipDownBlock2D"]}, {}, r"down_block_types\[0\]: 'AttnSkipDownBlock2D' is not"),
        ({"block_out_channels": [10**9]}, {}, r"block_out_channels\[0\]: expected a whole number"),
        ({"out_channels": 2}, {}, "from 1 to 2 channels: a network that learns its variance"),
        ({"sample_size": "big"}, {}, "sample_size should be a height and a width"),
        ({}, {"_class_name": "EulerDiscreteScheduler"}, "of a EulerDiscreteScheduler: .* DDPMScheduler and"),
        ({}, {"trained_betas": [0.1, 0.2]}, "trained_betas is not imported"),
        ({}, {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is not imported"),
        ({}, {"variance_type": "learned_range"}, "a learned variance is not imported"),
        ({}, {"beta_schedule": "sigmoid"}, "beta_schedule='sigmoid' is none of linear"),
        ({}, {"prediction_type": ["epsilon"]}, "prediction_type=.* is none of epsilon"),
        ({}, {"beta_start": -1}, "scheduler_config.json: first: expected a number"),
        ({}, {"num_train_timesteps": 1e9}, "count: expected a whole number"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(
    unet: dict[str, Any], scheduler: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read(saved(tmp_path / "m", unet, scheduler))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"vae": ["diffusers", "AutoencoderKL"]}, "of latents, not of pixels"),
        ({"text_encoder": []}, "has text_encoder"),
    ],
)
def test_pipelines_of_more_are_refused(parts: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    index = {"_class_name": "SomePipeline", "unet": ["diffusers", "UNet2DModel"], **parts}
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=message):
        read(folder)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    (folder / "unet" / WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"diffusion_pytorch_model.bin would have to be unpickled"):
        read(folder)
    (folder / "unet" / "diffusion_pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="save the model as one file of safetensors"):
        read(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (f"unet/{WEIGHTS}", b"no tensors", "is damaged"),
        ("unet/config.json", b"{", "is no JSON"),
        ("unet/config.json", b"[1]", "should hold an object"),
        ("unet/config.json", b"\xff", "is no JSON"),
        ("scheduler/scheduler_config.json", None, "is said by its scheduler"),
        ("unet/config.json", None, "cannot read .*config.json"),
    ],
)
def test_damage_is_explained(file: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(folder)
    with pytest.raises(UserError, match="is no folder"):
        read(tmp_path / "nowhere")


def test_without_the_package_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    np.save(tmp_path / "x.npy", np.zeros((30, 8, 8), np.uint8))
    with pytest.raises(UserError, match=r"need the package diffusers: pip install 'vlb\[diffusers\]'"):
        vlb.import_diffusers(saved(tmp_path / "m"), data=tmp_path / "x.npy", out=tmp_path / "run")
    assert command("import", tmp_path / "m", "--data", tmp_path / "x.npy", "--out", tmp_path / "run") == 2
    assert "pip install 'vlb[diffusers]'" in capsys.readouterr().err and not (tmp_path / "run").exists()
