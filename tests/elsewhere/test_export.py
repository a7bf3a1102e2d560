"""Runs as pipelines of the package diffusers, with code that stands by itself and draws the same images."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import vlb
from tests.commands.test_cli import vlb as command
from tests.oracles import seeded
from vlb.base.configuration import override
from vlb.base.errors import UserError
from vlb.core.schema import levels_schema
from vlb.data import Dataset, Split
from vlb.models.diffusion.samplers.ddim import DDIM
from vlb.nn.unet import UNetBackbone
from vlb.pages.bundle import bundled
from vlb.store import checkpoint
from vlb.store.checkpoint import Checkpoint
from vlb.store.runs import Run, diffusion_model
from vlb.training.loop import fit
from vlb.training.recipes import recipe

NETWORK = ("widths=[8, 16]", "training.steps=2", "validation_examples=4", "batch=4", "blocks=1")
KINDS = {
    "posterior": (17,),
    "labels": (3, "octaves=[0, 1]", "model.condition=labels", "model.roles=true"),
    "regression": (256, "head=regression", "schedule=cosine", "scaling=VE"),
    "preconditioned": (256, "head=preconditioned", "schedule=cosine"),
    "patches": (2, 'head={"type": "regression", "output": "x"}', "patch=2", "gamma_0=-4"),
}


def made(kind: str, folder: Path, *more: str) -> Run:
    """A run with weights that are no zeros."""
    levels, *settings = KINDS[kind]
    experiment = recipe("digits")
    for setting in (*NETWORK, *settings, *more):
        experiment = override(experiment, str(setting))
    x = np.random.default_rng(0).integers(0, levels, (12, 2, 8, 8)).astype(np.uint8)
    split = Split(x, np.arange(12) % 2)
    data = Dataset("tiny", levels_schema((2, 8, 8), int(levels), 2), split, split, split)
    run = Run.create(folder, experiment, data)
    assert fit(experiment, data, run)
    best = checkpoint.read(run.best)
    generator = seeded(3)
    shaken = {k: v + 0.1 * torch.randn(v.shape, generator=generator) for k, v in best.tensors.items()}
    checkpoint.save(run.best, Checkpoint(shaken, best.state))
    return run


ALONE = """
import json, sys, types
sys.modules["vlb"] = None
import torch
from torch import nn
class ConfigMixin: pass
class ModelMixin(nn.Module): pass
def register_to_config(init):
    def made(self, **config):
        init(self, **config)
        self.config = types.SimpleNamespace(**config)
    return made
def module(name, **holds):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(holds)
module("diffusers", ConfigMixin=ConfigMixin, ModelMixin=ModelMixin)
module("diffusers.configuration_utils", register_to_config=register_to_config)
for name in ("diffusers.models", "diffusers.models.unets"): module(name)
module("diffusers.models.unets.unet_2d", UNet2DOutput=types.SimpleNamespace)
sys.path.insert(0, sys.argv[1] + "/unet")
import vlb_unet
from safetensors.torch import load_file, save_file
torch.manual_seed(0)
z = torch.randn(2, 2, 8, 8)
for folder in sys.argv[1:]:
    config = json.load(open(folder + "/unet/config.json"))
    config.pop("_class_name")
    network = vlb_unet.VLBUNet(**config).eval()
    network.load_state_dict(load_file(folder + "/unet/diffusion_pytorch_model.safetensors"))
    with torch.no_grad():
        save_file({str(n): network(z, torch.tensor(n)).sample for n in (0, 7, 20, 39)} | {"z": z}, folder + "/said")
"""


def test_the_code_stands_by_itself_and_says_the_noise_that_the_model_says(tmp_path: Path) -> None:
    """In a process that has neither vlb nor diffusers, of which three names stand for what it uses."""
    runs = {kind: made(kind, tmp_path / kind) for kind in KINDS}
    for kind in KINDS:
        assert command("export", runs[kind].path, "-o", tmp_path / f"{kind}-out", "--steps", "40") == 0
    (tmp_path / "alone.py").write_text(ALONE)
    folders = [tmp_path / f"{kind}-out" for kind in KINDS]
    subprocess.run([sys.executable, tmp_path / "alone.py", *folders], check=True, cwd=tmp_path)
    for run, folder in zip(runs.values(), folders, strict=True):
        said = load_file(folder / "said")
        model, z, levels = diffusion_model(run.model(), "this test"), said.pop("z"), run.schema.levels
        kept = 1 - torch.tensor(scheduler(folder)["trained_betas"], dtype=torch.float64)
        for number, noise in said.items():
            t = torch.tensor([int(number) / 39], dtype=torch.float64)
            alpha, sigma = model.process.alpha_sigma(t, z)
            own = kept[: int(number) + 1].prod()
            theirs = float((own / (1 - own)).sqrt()) * levels / (levels - 1)
            assert theirs == pytest.approx(float(alpha / sigma), rel=1e-6)
            ours = (sigma / (1 - own).sqrt()).float() * z
            with torch.no_grad():
                torch.testing.assert_close(noise, model.predict(ours, t).eps, rtol=1e-3, atol=1e-4)


def scheduler(folder: Path) -> Any:
    return json.loads((folder / "scheduler" / "scheduler_config.json").read_text())


def test_bundled_code_names_nothing_of_the_package_and_is_in_order() -> None:
    text = bundled(UNetBackbone)
    tree = ast.parse(text)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("vlb" in ast.unparse(node) for node in imports)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "bundled", "exec"), names)
    assert text == bundled(UNetBackbone)


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an export for diffusers needs a diffusion model"):
        vlb.export_diffusers("vlb:iris", tmp_path / "out")
    run = made("posterior", tmp_path / "run")
    for setting, message in (
        ("model.backbone=mlp", "with backbone=unet are exported for diffusers, no others"),
        ("model.head=mixture", "of the heads with a law, head=posterior is exported"),
        ("model.head=energy", "of heads, posterior, preconditioned and regression are exported"),
        ("model.schedule=learned-per-dimension", "a schedule per element is not exported"),
    ):
        with pytest.raises(UserError, match=message):
            vlb.export_diffusers(made("posterior", tmp_path / setting, setting), tmp_path / "out")
    with pytest.raises(UserError, match="2 to 100,000 steps, not 1"):
        vlb.export_diffusers(run, tmp_path / "out", steps=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UserError, match="exists already"):
        vlb.export_diffusers(run, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_their_pipeline_draws_what_ddim_draws(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    diffusers = pytest.importorskip("diffusers")
    run = made(kind, tmp_path / "run")
    vlb.export_diffusers(run, tmp_path / "out")
    with pytest.raises(ValueError, match="trust_remote_code"):
        diffusers.DDIMPipeline.from_pretrained(tmp_path / "out")
    pipeline = diffusers.DDIMPipeline.from_pretrained(tmp_path / "out", trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=2, generator=seeded(5), num_inference_steps=20, output_type="np").images
    model = diffusion_model(run.model(), "this test")
    z = torch.randn(2, 2, 8, 8, generator=seeded(5)).double()
    levels = run.schema.levels
    grid = torch.arange(49, 1000, 50, dtype=torch.float64) / 999
    alpha, sigma = model.process.alpha_sigma(grid[-1:], z)
    snr = (alpha / sigma * (levels - 1) / levels) ** 2
    z_0 = DDIM()(model, z * sigma * (1 + snr).sqrt(), grid, seeded())
    x = model.predict(z_0, grid[:1]).x * levels / (levels - 1)
    expected = (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert np.abs(images - expected).max() < 2e-3
    assert expected.std() > 0.01
