"""An archive made in one numerical environment is decoded exactly in another, or refused: never other data."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.coding.conftest import placed
from tests.commands.test_cli import vlb
from vlb.coding import models, values
from vlb.coding.wire import Damaged, Reader
from vlb.data import load
from vlb.models.diffusion.model import DiffusionModel

ENVIRONMENTS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "three threads": {"OMP_NUM_THREADS": "3"},
    "no AVX in ATen": {"ATEN_CPU_CAPABILITY": "default"},
    "AVX2 in ATen": {"ATEN_CPU_CAPABILITY": "avx2"},
    "SSE4 in oneDNN": {"ONEDNN_MAX_CPU_ISA": "SSE41", "DNNL_MAX_CPU_ISA": "SSE41"},
    "MKL as on any machine": {"MKL_CBWR": "COMPATIBLE"},
    "everything plain": {
        "OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
        "DNNL_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE",
    },
}  # fmt: skip
RUNS = {
    "unet": ("digits", ("steps=10", "training.warmup=2", "backbone.widths=[8, 16]", "backbone.blocks=1")),
    "hierarchy": ("digits-hvae-bottom-up", ("steps=30", "training.warmup=2", "model.width=32")),
}


def elsewhere(environment: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **ENVIRONMENTS[environment]}
    command = [sys.executable, "-m", "vlb", *map(str, arguments)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", RUNS)
def test_any_environment_reads_what_any_other_wrote(name: str, tmp_path: Path) -> None:
    recipe, assignments = RUNS[name]
    run = tmp_path / "run"
    assert vlb("train", recipe, "--out", run, *[part for a in assignments for part in ("--set", a)]) == 0
    x = load("digits").test.x[:120]
    np.save(tmp_path / "x.npy", x)
    refused = []
    for writer, lanes in (("one thread", 7), ("everything plain", 64)):
        archive = tmp_path / f"{lanes}.vlb"
        made = elsewhere(writer, "compress", run, tmp_path / "x.npy", "-o", archive, "--lanes", lanes)
        assert made.returncode == 0, made.stderr
        for reader in ENVIRONMENTS:
            out = tmp_path / f"{lanes} {reader}"
            result = elsewhere(reader, "decompress", archive, "--model", run, "-o", out)
            if result.returncode == 0:
                assert np.array_equal(np.load(out / "x.npy"), x)
            else:
                assert "may compute the model differently" in " ".join(result.stderr.split())
                assert not out.exists()
                refused.append((writer, reader))
    # Snapping hides differences of 1e-15 but for about one parameter in 1e13; a refusal here would be such a one.
    assert refused == []


@pytest.mark.parametrize("size", [1e-15, 1e-12, 1e-9, 1e-6, 1e-3])
def test_larger_differences_are_noticed(size: float, model: DiffusionModel, test_images: np.ndarray) -> None:
    """A model whose weights differ a little, behind the digest's back."""
    x = test_images[:40]
    coded = values.encode(x, placed(4).codec(model), 17, verify=True)
    assert coded.account is not None and coded.account.direct < 40
    other, generator = models.prepared(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1 + size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    codec = placed(4).codec(other)
    try:
        found = values.decode(Reader(coded.content), 40, codec, 17)
    except Damaged:
        assert size > 1e-13
    else:
        assert np.array_equal(found, x)
