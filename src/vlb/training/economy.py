"""Ways of making the same step with less memory or time: a batch in parts, activations made anew, compiled networks.

They are settings of training, for they leave what a model is as it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from vlb.base.errors import UserError
from vlb.models.loss import AnyTerms
from vlb.nn.dropout import dropouts
from vlb.nn.parallel import FSDP
from vlb.nn.stages import Network, Stage, parts, recomputed, swapped
from vlb.store.training import Training


class Economy:
    """What the settings ask for, of a model and its loss. Raises `UserError` where these do not allow it."""

    def __init__(self, model: nn.Module, loss: AnyTerms, settings: Training) -> None:
        learned = (parameter.requires_grad for module in (model, loss) for parameter in module.parameters())
        if settings.steps and not any(learned):
            raise UserError("this model is fitted before training and takes no steps: --set training.steps=0")
        self.count = settings.accumulate
        if self.count > settings.batch:
            raise UserError(
                f"a batch of {settings.batch} does not have {self.count} parts: lower training.accumulate, or raise "
                "training.batch"
            )
        if self.count > 1 and loss.why_whole:
            raise UserError(f"{loss.why_whole}, which is not that of its parts: leave out training.accumulate")
        self.stages = parts(model, Stage) if settings.activation_checkpointing else ()
        if settings.activation_checkpointing and not self.stages:
            raise UserError(
                "no network of this model is made of stages, as a U-Net and an mlp are: leave out "
                "training.activation_checkpointing"
            )
        self.networks = compiled(model) if settings.compile else {}
        if isinstance(settings.parallel, FSDP) and (settings.compile or settings.precision == "float16"):
            raise UserError(
                "training.parallel=fsdp gathers the parts of a model as they are called, and scales no loss: leave out "
                f"training.{'compile' if settings.compile else 'precision=float16, or set bfloat16'}"
            )
        if self.stages and self.networks:
            raise UserError(
                "what torch.compile makes decides by itself which activations it keeps: leave out "
                "training.compile or training.activation_checkpointing"
            )

    def divided(self, batch: int) -> Iterator[slice]:
        """The parts of a batch, as even as they can be."""
        cuts = [batch * number // self.count for number in range(self.count + 1)]
        return (slice(first, last) for first, last in pairwise(cuts) if last > first)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """What forward and backward passes of a step are made within."""
        with recomputed(self.stages), swapped(self.networks), explained(bool(self.networks)):
            yield


def refuse_precision(settings: Training, device: torch.device) -> None:
    """Raises `UserError` where a device does not compute in the settings' precision."""
    on_gpu = settings.precision == "bfloat16" and device.type == "cuda"
    if on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            f"{torch.cuda.get_device_name(device)} does not compute in bfloat16: --set training.precision=float16, or "
            "float32"
        )


def compiled(model: nn.Module) -> dict[Network, Callable[..., Tensor]]:
    """The networks of a model with what torch.compile makes of each, when it is called first. Raises `UserError` where
    there are none, or it cannot follow them."""
    networks = parts(model, Network)
    if not networks:
        raise UserError(
            "no network of this model is one that torch.compile takes as a whole, as a U-Net and an mlp are: leave out "
            "training.compile"
        )
    if any(layer.p > 0 for network in networks for layer in dropouts(network)):
        raise UserError(
            "torch.compile cannot follow dropout whose masks are those of a step: set the backbone's dropout to 0, or "
            "leave out training.compile"
        )
    return {network: torch.compile(network.compute, fullgraph=True, dynamic=False) for network in networks}


@contextmanager
def explained(compiling: bool) -> Iterator[None]:
    """Say by a `UserError` that torch.compile failed, which it does for want of a compiler."""
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        if not compiling:
            raise
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise UserError(
            f"torch.compile cannot compile the network here ({reason}): on a CPU it needs a C++ compiler; leave out "
            "training.compile"
        ) from error
