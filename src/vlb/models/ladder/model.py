"""The ladder network: denoising at every layer of an encoder, for learning from few labels (Section 2.3, Fig. 2.3).

One encoder runs twice, clean and with noise (Valpola 2015, Rasmus et al. 2015). From the top down, each
layer's noisy representation z̃_l is denoised with what the layer above says, ẑ_l = g_l(z̃_l, û_l), towards
the clean one: ‖ẑ_l − d_l‖² is that layer's cost. Compared with a diffusion model, the targets are learned
representations instead of noised data – and there is no p(x): nothing here bounds a likelihood.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlb.base.errors import UserError
from vlb.core.condition import NOTHING
from vlb.core.distributions import standard_normal
from vlb.core.initial import Examples

REASON = (
    "a ladder network has no likelihood: it denoises its own representations and classifies; `vlb evaluate` gives "
    "error_rate and cost_per_layer. Sampling, compression and comparison by likelihood need a model of p(x), such as "
    "a VAE or a diffusion model"
)


class Denoise(nn.Module):
    """g(z̃, u): (z̃ − μ(u)) v(u) + μ(u) per unit, μ and v a sigmoid and a line in u (Rasmus et al. 2015, Eq. 2).

    For Gaussian z it is the exact posterior mean. Ten numbers per unit; it starts with v = 1/2, μ = 0.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        start = torch.zeros(10, units)
        start[[1, 6]] = 1.0
        self.weights = nn.Parameter(start)

    def forward(self, noisy: Tensor, above: Tensor) -> Tensor:
        a = self.weights
        mean = a[0] * torch.sigmoid(a[1] * above + a[2]) + a[3] * above + a[4]
        gate = a[5] * torch.sigmoid(a[6] * above + a[7]) + a[8] * above + a[9] + 0.5
        return (noisy - mean) * gate + mean


class Pass(NamedTuple):
    """One run of the encoder: z_0 … z_L (z_0 is x), each (batch, units); logits; the normalisers of layers ≥ 1."""

    z: list[Tensor]
    logits: Tensor
    means: list[Tensor]
    stds: list[Tensor]


class LadderNetwork(nn.Module):
    """widths: units of every layer, from the input to the classes.

    levels: of the data 0 … K−1, scaled to [0, 1] at the input; weights: of the denoising costs, input first, 0 to
    leave one out; labelled_x (n, D) and labels (n,): the examples whose labels may be used, kept with the model.
    """

    why_not = REASON
    takes = NOTHING

    def __init__(
        self,
        widths: tuple[int, ...],
        shape: tuple[int, ...],
        levels: int,
        noise: float,
        weights: tuple[float, ...],
        labelled_x: Tensor,
        labels: Tensor,
        labelled_seed: int = 0,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise UserError(f"a ladder needs an input, classes and at least one unit everywhere, not {list(widths)}")
        if len(weights) != len(widths):
            raise UserError(f"a ladder of {len(widths)} layers needs as many cost weights, not {list(weights)}")
        self.shape, self.levels, self.noise, self.cost_weights = tuple(shape), levels, noise, tuple(weights)
        self.up = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))
        self.down = nn.ModuleList(nn.Linear(b, a, bias=False) for a, b in pairwise(widths))
        self.shifts = nn.ParameterList(torch.zeros(width) for width in widths[1:])
        self.log_scale = nn.Parameter(torch.zeros(widths[-1]))
        self.denoisers = nn.ModuleList(Denoise(width) for width in widths)
        for layer, width in enumerate(widths[1:]):
            self.register_buffer(f"mean_{layer}", torch.zeros(width))
            self.register_buffer(f"std_{layer}", torch.ones(width))
        self.register_buffer("labelled_x", labelled_x)
        self.register_buffer("labels", labels)
        self.labelled_seed = labelled_seed

    def initialise(self, data: Examples, generator: torch.Generator) -> None:
        """The examples whose labels may be used, as many of each class. Raises `UserError` where there are fewer."""
        labelled, labels = self.get_buffer("labelled_x"), self.get_buffer("labels")
        if data.labels is None or len(data.x) < len(labels):
            raise UserError(
                f"a ladder network that may see {len(labels)} labels needs as many labelled examples, and there are "
                f"{0 if data.labels is None else len(data.x)}: set labelled to fewer"
            )
        index = balanced(data.labels, len(labels), self.labelled_seed)
        labelled.copy_(torch.from_numpy(np.ascontiguousarray(data.x[index])))
        labels.copy_(torch.from_numpy(data.labels[index]))

    @property
    def depth(self) -> int:
        """The number of layers with a cost, the input among them."""
        return len(self.denoisers)

    @property
    def labels_used(self) -> int:
        """How many examples' labels may be used."""
        return len(self.get_buffer("labels"))

    def encode(self, x: Tensor, noise: float = 0.0, generator: torch.Generator | None = None) -> Pass:
        """Run the encoder on integers (batch, *shape), with Gaussian noise of standard deviation `noise` at each layer.

        In training each layer is normalised by its batch, else by running moments.
        """

        def disturbed(z: Tensor) -> Tensor:
            if not noise:
                return z
            assert generator is not None
            return z + noise * standard_normal(z.shape, generator, z)

        h = disturbed(x.flatten(1).to(self.log_scale.dtype) / (self.levels - 1))
        run = Pass([h], h, [], [])
        for number, (layer, shift) in enumerate(zip(self.up, self.shifts, strict=True)):
            raw = layer(h)
            if self.training:
                mean, std = raw.mean(0), (raw.var(0, unbiased=False) + 1e-5).sqrt()
            else:
                mean, std = self.get_buffer(f"mean_{number}"), self.get_buffer(f"std_{number}")
            z = disturbed((raw - mean) / std)
            last = number == len(self.up) - 1
            h = self.log_scale.exp() * (z + shift) if last else F.relu(z + shift)
            run.z.append(z)
            run.means.append(mean)
            run.stds.append(std)
        return run._replace(logits=h)

    def costs(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Pass]:
        """E‖ẑ_l − d_l‖² per unit and layer, input first, (layers,), with the clean pass that gave the targets."""
        clean = self.encode(x)
        noisy = self.encode(x, self.noise, generator)
        above = noisy.logits.softmax(1)
        costs = []
        for layer in reversed(range(self.depth)):
            if layer < self.depth - 1:
                above = self.down[layer](above)
            u = (above - above.mean(0)) / (above.var(0, unbiased=False) + 1e-5).sqrt()
            above = self.denoisers[layer](noisy.z[layer], u)
            # With the clean pass's normaliser the cost cannot be won by shrinking what is denoised (Rasmus 2015, §3.3).
            guess = (above - clean.means[layer - 1]) / clean.stds[layer - 1] if layer else above
            costs.append((guess - clean.z[layer]).square().mean())
        return torch.stack(costs[::-1]), clean

    def losses(self, x: Tensor, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of a noisy pass on up to `batch` labelled examples, and weighted costs on x: scalars."""
        labelled, labels = self.get_buffer("labelled_x"), self.get_buffer("labels")
        if len(labels) > batch:
            chosen = torch.randperm(len(labels), generator=generator, device=generator.device)[:batch]
            labelled, labels = labelled[chosen.to(labels.device)], labels[chosen.to(labels.device)]
        logits = self.encode(labelled, self.noise, generator).logits
        losses = {"cross_entropy": F.cross_entropy(logits, labels)}
        if any(self.cost_weights):
            costs, clean = self.costs(x, generator)
            losses |= {f"cost_{i}": w * cost for i, (w, cost) in enumerate(zip(self.cost_weights, costs, strict=True))}
        else:
            with torch.no_grad():
                clean = self.encode(labelled)
        self._remember(clean)
        return losses

    def classify(self, x: Tensor) -> Tensor:
        """log p(y | x) of a clean pass: integers (batch, *shape) -> (batch, classes)."""
        return self.encode(x).logits.log_softmax(1)

    @torch.no_grad()
    def _remember(self, clean: Pass) -> None:
        """Running moments of the clean pass, for use outside training."""
        for layer, (mean, std) in enumerate(zip(clean.means, clean.stds, strict=True)):
            self.get_buffer(f"mean_{layer}").lerp_(mean, 0.05)
            self.get_buffer(f"std_{layer}").lerp_(std, 0.05)


def balanced(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices of `count` examples with as equal a number of each class as there are, (count,)."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        rank[own] = np.arange(len(own))
    return order[np.argsort(rank[order], kind="stable")[:count]]
