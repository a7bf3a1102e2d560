"""Models that the package diffusers has made and saved, as runs: the same network, the same noise, the same samples."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vlb
from tests.commands.test_cli import vlb as command
from tests.oracles import seeded
from vlb.base.errors import UserError
from vlb.core.condition import Condition
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.process import along
from vlb.models.diffusion.samplers.ddim import DDIM
from vlb.store.runs import Run

pytestmark = pytest.mark.slow  # the package takes seconds to import
T, REACH = 50, 256 / 255
KINDS = [
    ("DDIMScheduler", "linear", "epsilon"), ("DDPMScheduler", "scaled_linear", "v_prediction"),
    ("DDIMScheduler", "squaredcos_cap_v2", "sample"),
]  # fmt: skip


@pytest.fixture(scope="module")
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pictures") / "x.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (60, 3, 8, 8), np.uint8))
    return file


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind[1])
def made(request: Any, diffusers: Any, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A pipeline that diffusers saved, and the run that was made of it."""
    folder, (scheduler, betas, predicted) = tmp_path_factory.mktemp("made"), request.param
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), dropout=0.1,
    )  # fmt: skip
    process = getattr(diffusers, scheduler)(T, 0.001, 0.2, betas, prediction_type=predicted, clip_sample=False)
    diffusers.DDIMPipeline(network, diffusers.DDIMScheduler.from_config(process.config)).save_pretrained(
        folder / "public"
    )
    process.save_pretrained(folder / "public" / "scheduler")
    return folder / "public", vlb.import_diffusers(folder / "public", data=pictures, out=folder / "run").run


def parts(made: tuple[Path, Run], diffusers: Any) -> tuple[Any, Any, DiffusionModel]:
    network = diffusers.UNet2DModel.from_pretrained(made[0], subfolder="unet").eval()
    model = made[1].model()
    assert isinstance(model, DiffusionModel)
    return network, diffusers.DDIMScheduler.from_pretrained(made[0], subfolder="scheduler"), model


def ours(model: DiffusionModel, z: Tensor, t: Tensor) -> Tensor:
    """Their z as ours: of x at the centres of bins, at equal noise."""
    gamma = model.process.schedule.gamma(t)
    theirs = gamma + 2 * np.log(REACH)
    return (along((torch.sigmoid(gamma) / torch.sigmoid(theirs)).sqrt(), z)).to(z.dtype) * z


@torch.no_grad()
def test_the_denoiser_is_their_network_at_their_noise_levels(made: tuple[Path, Run], diffusers: Any) -> None:
    network, scheduler, model = parts(made, diffusers)
    z = torch.randn(2, 3, 8, 8, generator=seeded(1))
    for number in (0, 1, 17, T - 1):
        t = torch.tensor([number / (T - 1)], dtype=torch.float64)
        gamma = model.process.schedule.gamma(t)
        kept = float(torch.sigmoid(-gamma - 2 * np.log(REACH)))
        assert kept == pytest.approx(float(scheduler.alphas_cumprod[number]), rel=2e-5)
        out = model.denoiser.ask(ours(model, z, t), gamma).squeeze(-1)
        torch.testing.assert_close(out, network(z, number).sample, rtol=1e-4, atol=1e-5)
        stepped = scheduler
        stepped.set_timesteps(T)
        x = stepped.step(network(z, number).sample, number, z).pred_original_sample
        found = model.predict(ours(model, z, t), t).x * REACH
        torch.testing.assert_close(found, x, rtol=1e-3, atol=1e-3 * float(x.abs().max()))


@torch.no_grad()
def test_ddim_draws_the_pictures_of_their_pipeline(made: tuple[Path, Run], diffusers: Any) -> None:
    _, _, model = parts(made, diffusers)
    pipeline = diffusers.DDIMPipeline.from_pretrained(made[0])
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(batch_size=3, generator=seeded(4), num_inference_steps=10, output_type="np").images
    grid = torch.arange(0, T, T // 10, dtype=torch.float64) / (T - 1)
    noise = torch.randn(3, 3, 8, 8, generator=seeded(4))
    z = DDIM()(model, ours(model, noise, grid[-1:]).double(), grid, seeded())
    x = REACH * model.predict(z, grid[:1]).x
    drawn = (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert np.abs(drawn - expected).max() < 1e-3 and expected.std() > 0.05


def test_a_run_of_it_is_used_as_any(made: tuple[Path, Run], tmp_path: Path) -> None:
    run = made[1]
    found = vlb.evaluate(run, options=vlb.EvaluateOptions(passes=4))
    assert found.bits_per_dim > 8 - 5 * found.standard_error  # uniform noise has 8 bits
    samples = vlb.sample(run, vlb.SampleOptions(n=2, steps=5))
    assert samples.x.shape == (2, 3, 8, 8)
    np.save(tmp_path / "some.npy", samples.x.astype(np.uint8))
    vlb.compress(run, [tmp_path / "some.npy"], tmp_path / "some.vlb", vlb.CompressOptions(steps=4))
    vlb.decompress(tmp_path / "some.vlb", tmp_path / "back", run=run.path)
    (back,) = (tmp_path / "back").rglob("*.npy")
    assert back.read_bytes() == (tmp_path / "some.npy").read_bytes()
    assert command("report", run.path) == 0 and "vlb import" in (run.path / "report.html").read_text()
    public = vlb.save_pretrained(run, tmp_path / "public").where
    assert str(made[0]) not in (Path(public) / "config.json").read_text() + (Path(public) / "README.md").read_text()
    assert json.loads((run.path / "config.json").read_text())["experiment"]["imported"] == str(made[0])


def test_a_network_told_classes_is_of_p_x_given_y(diffusers: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {
        "sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    network = diffusers.UNet2DModel(num_class_embeds=3, **small).eval()
    network.save_pretrained(tmp_path / "public" / "unet")
    diffusers.DDIMScheduler(T).save_pretrained(tmp_path / "public" / "scheduler")
    draw = np.random.default_rng(0)
    for name in ("cat", "dog", "owl"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            picture = Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8))
            picture.save(tmp_path / "pictures" / name / f"{number}.png")
    run = vlb.import_diffusers(tmp_path / "public", data=tmp_path / "pictures", out=tmp_path / "run").run
    model = run.model()
    assert isinstance(model, DiffusionModel) and run.conditional
    z, label = torch.randn(3, 3, 8, 8, generator=seeded(1)), torch.arange(3)
    t = torch.tensor([17 / (T - 1)], dtype=torch.float64)
    gamma = model.process.schedule.gamma(t)
    with torch.no_grad():
        out = model.denoiser.ask(ours(model, z, t), gamma, Condition(label=label)).squeeze(-1)
        torch.testing.assert_close(out, network(z, 17, label).sample, rtol=1e-4, atol=1e-5)
        with pytest.raises(UserError, match="none for no label"):
            model.denoiser.ask(z, gamma, Condition())
    assert vlb.evaluate(run, options=vlb.EvaluateOptions(passes=2)).bits_per_dim > 7
    assert vlb.sample(run, vlb.SampleOptions(n=2, steps=3, label="owl")).x.shape == (2, 3, 8, 8)
    with pytest.raises(UserError, match="without a label"):
        vlb.sample(run, vlb.SampleOptions(n=2, steps=3))
    np.save(tmp_path / "unlabelled.npy", np.zeros((30, 3, 8, 8), np.uint8))
    with pytest.raises(UserError, match=r"which of 3 classes .* has no classes"):
        vlb.import_diffusers(tmp_path / "public", data=tmp_path / "unlabelled.npy", out=tmp_path / "other")


def test_pictures_that_do_not_fit_are_refused(made: tuple[Path, Run], tmp_path: Path) -> None:
    for shape, message in (((30, 3, 16, 16), "of 8×8 pixels, x.npy has 16×16"), ((30, 1, 8, 8), "with 3 channels, x")):
        np.save(tmp_path / "x.npy", np.zeros(shape, np.uint8))
        with pytest.raises(UserError, match=message):
            vlb.import_diffusers(made[0], data=tmp_path / "x.npy", out=tmp_path / "run")
        assert not (tmp_path / "run").exists()
