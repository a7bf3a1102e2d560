"""`vlb.export_diffusers`: a run of a U-Net as a pipeline of the package diffusers.

diffusers has no such network and no such head, so that their code goes along: `unet/vlb_unet.py`, cut out of this
package, of a network that answers ε̂ at the number of a step. What vlb's schedule, scaling and head make of an output is
a table of five numbers per step, and the scheduler is diffusers' own, with the same noise at each step.
"""

import json
import math
from dataclasses import asdict, dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from vlb.base.errors import UserError
from vlb.base.files import made_new, write_text
from vlb.base.results import Result, Table
from vlb.core.emissions import CategoricalPosterior
from vlb.core.layouts import Image
from vlb.core.surroundings import ordinary
from vlb.models.diffusion.config import Diffusion
from vlb.models.diffusion.denoiser import PosteriorDenoiser, RegressionDenoiser
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.parameterization import solve
from vlb.models.diffusion.preconditioned import PreconditionedDenoiser
from vlb.nn.unet import UNet, UNetBackbone
from vlb.pages.bundle import bundled
from vlb.store.runs import Run, diffusion_model

MODULE, WEIGHTS = "vlb_unet", "diffusion_pytorch_model.safetensors"
NETWORK = '''
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput


class VLBUNet(ModelMixin, ConfigMixin):
    """Noisy images from -1 to 1, (batch, C, H, W), at the number of a step -> an estimate of their noise.

    steps: of each the noise level that the network is told, a factor that makes z of an image, one that makes the
    input of z, and those of z and estimate in the noise; a number between two steps is between their numbers. levels:
    of an element, on which the network gives a distribution; components: of a mixture that it gives; None where it
    gives neither, and regresses.
    """

    @register_to_config
    def __init__(
        self, in_channels, sample_size, steps, outputs, classes, widths, blocks, attention, octaves, patch, dropout,
        roles, levels=None, laws=0, components=None,
    ):
        super().__init__()
        self.backbone = UNetBackbone(
            (in_channels, *sample_size), outputs, classes, tuple(widths), blocks, tuple(attention), tuple(octaves),
            patch, dropout, roles,
        )
        self.bias = None if levels is None else nn.Parameter(torch.zeros(laws, levels))
        if components is not None:
            self.bias = nn.Parameter(torch.zeros(components, 3))

    def forward(self, sample, timestep, return_dict=True):
        steps = torch.tensor(self.config.steps, dtype=torch.float64).to(sample.device)
        place = torch.as_tensor(timestep, dtype=torch.float64).to(sample.device).reshape(-1).expand(len(sample))
        place = place.clamp(0, len(steps) - 1)
        below = place.floor().clamp(max=len(steps) - 2).long()
        rows = torch.lerp(steps[below], steps[below + 1], (place - below).unsqueeze(1))
        factors = (c.view(-1, 1, 1, 1).to(sample.dtype) for c in rows[:, 1:].unbind(1))
        factor, into, of_z, of_estimate = factors
        z = factor * sample
        out = self.backbone(into * z, rows[:, :1]).to(z.dtype)
        if self.bias is None:
            estimate = out.squeeze(-1)
        elif self.config.components is not None:
            weights, means, _ = (out.unflatten(-1, (-1, 3)) + self.bias).unbind(-1)
            estimate = (weights.softmax(-1) * means).sum(-1)
        else:
            levels = self.config.levels
            values = ((2 * torch.arange(levels, dtype=torch.float64) + 1) / levels - 1).to(z)
            rest = (1, 1) if len(self.bias) < z[0].numel() else z.shape[2:]
            away = (of_z * z).unsqueeze(-1) + of_estimate.unsqueeze(-1) * values
            estimate = (out + self.bias.view(-1, *rest, levels) - 0.5 * away**2).softmax(-1) @ values
        noise = of_z * z + of_estimate * estimate
        return UNet2DOutput(sample=noise) if return_dict else (noise,)
'''


class Read(NamedTuple):
    """What a head makes of outputs. into, of_z, of_estimate: (T, 1), what of z is the network's input and what ε̂ is of
    z and of the estimate; outputs: numbers per element; levels: of the law, or components: of the mixture, that the
    estimate is the mean of, with its offset, where it is one."""

    into: Tensor
    of_z: Tensor
    of_estimate: Tensor
    outputs: int = 1
    levels: int | None = None
    components: int | None = None
    offset: Tensor | None = None


@singledispatch
def read_by(denoiser: Any, alpha: Tensor, sigma: Tensor) -> Read:
    """How a denoiser reads outputs at noise levels (T, 1). Raises `UserError` for a head that is not exported."""
    raise UserError("of heads, posterior, preconditioned and regression are exported: this model has another")


@read_by.register
def _(denoiser: PosteriorDenoiser, alpha: Tensor, sigma: Tensor) -> Read:
    """ε̂ = (z − αx̂)/σ of the mean x̂ of levels given z."""
    head = denoiser.head
    if not isinstance(head, CategoricalPosterior) or head.centres.each is not None:
        raise UserError("of the heads with a law, head=posterior is exported: this model has another")
    levels, one = head.outputs, torch.ones_like(alpha)
    return Read(one, 1 / sigma, -alpha / sigma, levels, levels=levels, offset=head.offset.detach())


@read_by.register
def _(denoiser: PreconditionedDenoiser, alpha: Tensor, sigma: Tensor) -> Read:
    """ε̂ = (σz − αs√v · estimate)/v of the mixture's mean in units of σs/√v, v = α²s² + σ²."""
    own = denoiser.get_buffer("deviation").to(alpha)
    spread = (alpha**2 * own**2 + sigma**2).sqrt()
    bias, components = denoiser.bias.detach(), denoiser.components
    of_estimate = -alpha * own / spread
    return Read(1 / spread, sigma / spread**2, of_estimate, 3 * components, components=components, offset=bias)


@read_by.register
def _(denoiser: RegressionDenoiser, alpha: Tensor, sigma: Tensor) -> Read:
    """ε̂ is linear in z and in the output."""
    one, nothing = torch.ones_like(alpha), torch.zeros_like(alpha)
    of_z = solve(denoiser.parameterization, nothing, one, alpha, sigma)[1]
    return Read(one, of_z, solve(denoiser.parameterization, one, nothing, alpha, sigma)[1])


@dataclass(frozen=True)
class ExportResult(Result):
    """What `vlb.export_diffusers` returns: the folder, and how many steps its scheduler has."""

    folder: Path
    steps: int

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {"folder": str(self.folder), "steps": self.steps}

    def table(self) -> Table:
        """Where it is."""
        return Table("exported", ("", ""), ((("folder", str(self.folder)), ("steps", str(self.steps))),), numbers=False)


@ordinary()
def export_diffusers(run: Run | str | Path, folder: str | Path, *, steps: int = 1000) -> ExportResult:
    """Write a run of a U-Net as a folder that `DDIMPipeline.from_pretrained(folder, trust_remote_code=True)` loads.

    steps: T, with the schedule at t = n/(T − 1). The pipeline draws images as `vlb.sample` does by DDIM, but for the
    end, where it rounds the denoised image and vlb draws from p(x | z_0). The package diffusers is not needed to
    write. Raises `UserError` where the folder is there already, and for models of other kinds, networks, heads or
    schedules.
    """
    if not 2 <= steps <= 100_000:
        raise UserError(f"a scheduler has 2 to 100,000 steps, not {steps}")
    opened = run if isinstance(run, Run) else Run.open(run)
    opened.refuse_unlabelled("an export")
    model = diffusion_model(opened.model(), "an export for diffusers")
    target = Path(folder)
    config, tensors, kept = _network(opened, model, steps)
    with made_new(target) as made:
        (made / "unet").mkdir()
        (made / "scheduler").mkdir()
        note = f'"""A network of a run of vlb, for diffusers: {opened.fingerprint}."""\n\n'
        write_text(made / "unet" / f"{MODULE}.py", note + bundled(UNetBackbone) + "\n" + NETWORK)
        save_file(tensors, made / "unet" / WEIGHTS, {"format": "pt"})
        index = {
            "_class_name": "DDIMPipeline",
            "unet": [MODULE, "VLBUNet"],
            "scheduler": ["diffusers", "DDIMScheduler"],
        }
        for name, content in (
            ("model_index", index), ("unet/config", config), ("scheduler/scheduler_config", _scheduler(kept))
        ):  # fmt: skip
            write_text(made / f"{name}.json", json.dumps(content, indent=2 if name == "model_index" else None) + "\n")
        write_text(made / "README.md", _readme(opened, steps))
    return ExportResult(target, steps)


def _network(run: Run, model: DiffusionModel, steps: int) -> tuple[dict[str, Any], dict[str, Tensor], Tensor]:
    """The network's configuration and tensors, and log ᾱ at each step."""
    network = run.configuration.backbone if isinstance(run.configuration, Diffusion) else None
    if not isinstance(network, UNet) or not isinstance(run.schema.layout, Image):
        raise UserError(
            f"{run.path}: diffusion models of images with backbone=unet are exported for diffusers, no others"
        )
    if model.groups is not None:
        raise UserError(
            f"{run.path}: what decodes in groups (model.decoder=lattices) is not exported: pipelines end with one "
            "estimate"
        )
    assert isinstance(model.denoiser, nn.Module)
    gamma = model.process.schedule.gamma(torch.linspace(0, 1, steps, dtype=torch.float64))
    if gamma.shape[-1] != 1:
        raise UserError(f"{run.path}: a schedule per element is not exported: schedulers have one for all")
    alpha, sigma = model.process.scaling(gamma)
    read = read_by(model.denoiser, alpha, sigma)
    # For x from −1 to 1, of which our levels are the centres of bins.
    theirs = gamma + 2 * math.log(run.schema.levels / (run.schema.levels - 1))
    factor = sigma / torch.sigmoid(theirs).sqrt()
    table = torch.cat((gamma, factor, read.into, read.of_z, read.of_estimate), 1)
    backbone = model.denoiser.get_submodule("backbone")
    tensors = {f"backbone.{name}": value.contiguous() for name, value in backbone.state_dict().items()}
    channels, *size = run.schema.shape
    config = {
        "_class_name": "VLBUNet", "in_channels": channels, "sample_size": size, "steps": table.tolist(),
        "outputs": read.outputs, "classes": (run.schema.classes or 0) if run.conditional else 0, **asdict(network),
        "roles": run.configuration.roles if isinstance(run.configuration, Diffusion) else False, "levels": read.levels,
        "laws": 0 if read.levels is None or read.offset is None else len(read.offset), "components": read.components,
    }  # fmt: skip
    if read.offset is not None:
        tensors["bias"] = read.offset.contiguous()
    return config, tensors, -F.softplus(theirs).squeeze(-1)


def _scheduler(log_kept: Tensor) -> dict[str, Any]:
    """Of ᾱ at each step."""
    betas = -torch.expm1(log_kept.diff(prepend=log_kept.new_zeros(1)))
    return {
        "_class_name": "DDIMScheduler", "num_train_timesteps": len(betas), "trained_betas": betas.tolist(),
        "clip_sample": False, "prediction_type": "epsilon", "set_alpha_to_one": True, "timestep_spacing": "trailing",
    }  # fmt: skip


def _readme(run: Run, steps: int) -> str:
    return f"""# A pipeline of diffusers, made with vlb

Made of the run `{run.fingerprint}`, a diffusion model of {run.content["data"]["name"]}, by `vlb export`; {steps} steps.

```python
from diffusers import DDIMPipeline

pipeline = DDIMPipeline.from_pretrained("FOLDER", trust_remote_code=True)  # it runs unet/{MODULE}.py: read it first
images = pipeline(batch_size=16, num_inference_steps=50).images
```
"""
