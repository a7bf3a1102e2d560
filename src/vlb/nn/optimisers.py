"""How weights follow their gradients: AdamW, or Muon for the matrices and kernels of layers and AdamW for the rest.

A configuration builds optimisers that share out the parameters of a module between them. Each group of parameters keeps
its learning rate at its largest, `peak`, which a schedule multiplies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import torch
from torch import Tensor, nn

from vlb.base.configuration import Family
from vlb.base.domains import BelowOne, Settings, Within
from vlb.core.shards import local, part, whole

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# The quintic of Jordan (2024): its fifth iterate brings singular values from 0.01 to 1 near 1.
A, B, C = 3.4445, -4.7750, 2.0315


class AdamWOptimiser(torch.optim.AdamW):
    """AdamW (Loshchilov & Hutter 2019), fused."""

    def moments(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        return {"step": torch.zeros((), device=parameter.device), "exp_avg": parameter, "exp_avg_sq": parameter}


class MuonOptimiser(torch.optim.Optimizer):
    """Momentum made orthogonal (Jordan 2024): with M the momentum, W ← W − η √max(1, rows/columns) U Vᵀ for M = U S Vᵀ.

    A kernel (outputs, inputs, …) is a matrix (outputs, rest). UVᵀ is found up to 30 % in each singular value by five
    Newton–Schulz steps. Matrices of which processes hold parts are gathered for it, in each of them.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def moments(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        return {"momentum": parameter}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            rate, decay, momentum = group["lr"], group["weight_decay"], group["momentum"]
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            ahead = [whole(self._ahead(parameter, momentum)).flatten(1) for parameter in moved]
            torch._foreach_mul_([local(parameter) for parameter in moved], 1 - rate * decay)
            for (rows, columns), places in _alike(ahead).items():
                updates = orthogonal(torch.stack([ahead[place] for place in places]))
                stretch = max(1.0, rows / columns) ** 0.5
                for place, update in zip(places, updates, strict=True):
                    parameter = moved[place]
                    local(parameter).add_(part(update.view(parameter.shape), parameter), alpha=-rate * stretch)

    def _ahead(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The momentum as it will be (Nesterov)."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        kept: Tensor = state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(kept, momentum)


def _alike(matrices: Sequence[Tensor]) -> dict[tuple[int, int], list[int]]:
    """The places of matrices by their shape."""
    found: dict[tuple[int, int], list[int]] = {}
    for place, matrix in enumerate(matrices):
        found.setdefault((matrix.shape[0], matrix.shape[1]), []).append(place)
    return found


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Near U Vᵀ of matrices U S Vᵀ, (n, rows, columns), by Newton–Schulz iterations X ← (a + bG + cG²) X, G = X Xᵀ; 0
    of 0.

    G follows its own recursion, so that what is iterated is as small as the shorter side squared.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-20)
    one = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    gram, factor = x @ x.mT, one.expand(len(x), -1, -1)
    for _ in range(iterations):
        polynomial = torch.baddbmm(A * one + B * gram, gram, gram, alpha=C)
        factor = polynomial @ factor
        gram = polynomial @ gram @ polynomial
    found = factor @ x
    return found.mT if tall else found


class OptimiserChoice(Protocol):
    """The configuration of how weights follow their gradients."""

    def build(
        self, module: nn.Module, learning_rate: float, betas: tuple[float, float], weight_decay: float
    ) -> tuple[AdamWOptimiser | MuonOptimiser, ...]:
        """Optimisers that share out the parameters of a module; the rates and decay are AdamW's."""


@dataclass(frozen=True, kw_only=True)
class AdamW(Settings):
    """AdamW for every parameter; vectors and scalars do not decay."""

    def build(
        self, module: nn.Module, learning_rate: float, betas: tuple[float, float], weight_decay: float
    ) -> tuple[AdamWOptimiser | MuonOptimiser, ...]:
        return (_adamw(list(module.parameters()), learning_rate, betas, weight_decay),)


@dataclass(frozen=True, kw_only=True)
class Muon(Settings):
    """Muon for the matrices and kernels of layers, AdamW for the rest: embeddings, biases, norms, offsets.

    rate: the largest learning rate of the matrices.
    """

    rate: Annotated[float, Within(0, 100, above=True)] = 0.02
    momentum: BelowOne = 0.95
    decay: Annotated[float, Within(0, 100)] = 0.0

    def build(
        self, module: nn.Module, learning_rate: float, betas: tuple[float, float], weight_decay: float
    ) -> tuple[AdamWOptimiser | MuonOptimiser, ...]:
        weights = {id(part.weight) for part in module.modules() if isinstance(part, LAYERS)}
        layers = [parameter for parameter in module.parameters() if id(parameter) in weights]
        rest = [parameter for parameter in module.parameters() if id(parameter) not in weights]
        found: list[AdamWOptimiser | MuonOptimiser] = []
        if layers:
            found.append(MuonOptimiser(layers, self.rate, self.momentum, self.decay))
            found[0].param_groups[0]["peak"] = self.rate
        if rest:
            found.append(_adamw(rest, learning_rate, betas, weight_decay))
        return tuple(found)


def _adamw(
    parameters: Sequence[nn.Parameter], rate: float, betas: tuple[float, float], weight_decay: float
) -> AdamWOptimiser:
    decayed, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    found = AdamWOptimiser(groups, lr=rate, betas=betas, fused=True)
    for group in found.param_groups:
        group["peak"] = rate
    return found


OPTIMISERS = Family("optimiser", {"adamw": AdamW, "muon": Muon})
AnyOptimiser = Annotated[AdamW | Muon, OPTIMISERS]
