"""Functions of a test in several processes at once."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from tests.conftest import FEW
from vlb.core.ranks import Ranks


def together(folder: Path, module: str, name: str, *given: object, size: int = 2) -> list[Any]:
    """What a function of a module, called with the process's `Ranks` and texts, returns in each of `size` processes:
    tensors and plain values."""
    script = "import sys; from tests.together import be_one; be_one(*sys.argv[1:])"
    meeting = folder / f"{name}-of-{size}"
    line = [sys.executable, "-c", script, str(meeting), str(size), module, name]
    running = [
        subprocess.Popen([*line, str(rank), *map(str, given)], env=os.environ | {"OMP_NUM_THREADS": "1"})
        for rank in range(size)
    ]
    assert [process.wait(timeout=240) for process in running] == [0] * size
    return [torch.load(f"{meeting}-{rank}", weights_only=True) for rank in range(size)]


def be_one(meeting: str, size: str, module: str, name: str, rank: str, *given: str) -> None:
    """Be a process of `together`."""
    torch.set_num_threads(1)
    for where, number in FEW.items():
        owner, _, constant = where.rpartition(".")
        setattr(import_module(f"vlb.{owner}"), constant, number)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(size))
    function = getattr(import_module(module), name)
    torch.save(function(Ranks(int(rank), int(size)), *given), f"{meeting}-{rank}")
    os._exit(0)  # without a word to the others
