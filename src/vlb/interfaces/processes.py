"""What a command's process works with: where it computes, beside which others, and whom it tells of progress."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from vlb.base.progress import SILENT, Progress
from vlb.interfaces.terminal import Terminal, choose_device

if TYPE_CHECKING:
    import torch

    from vlb.core.ranks import Ranks


class Process(NamedTuple):
    """device: where it computes; ranks: its number among those that `torchrun` started, of which the first alone prints
    and writes; progress: whom it tells."""

    device: "torch.device"
    ranks: "Ranks"
    progress: Progress


@contextmanager
def at_work(device: str | None) -> Iterator[Process]:
    """This process, with the others for as long as they work together. Raises `UserError` for a device that is not to
    be had, and where the others are not found."""
    first = os.environ.get("RANK", "0") == "0"  # which says that it is at work before torch is imported
    with Terminal() if first else nullcontext(SILENT) as progress:
        from vlb.core.ranks import joined

        chosen = choose_device(device)
        with joined(chosen) as ranks:
            yield Process(chosen, ranks, progress)
