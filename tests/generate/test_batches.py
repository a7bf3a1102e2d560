"""Samples come in batches of bounded memory, which do not depend on how many follow, under a bar that ends full."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import vlb
from tests.commands.test_cli import TINY
from tests.commands.test_cli import vlb as command
from tests.told import Bars
from vlb.core.ranks import ALONE
from vlb.core.schema import levels_schema
from vlb.generate import batches
from vlb.generate.options import SampleOptions
from vlb.models.diffusion.samplers import SAMPLERS


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    made = {"diffusion": ("digits", "--condition", "labels", *TINY), "mixture": ("digits-mixture", "--set", "steps=1")}
    for name, (recipe, *settings) in made.items():
        assert command("train", recipe, "--out", folder / name, *settings) == 0
    return {name: folder / name for name in made}


@pytest.mark.parametrize(("run", "options"), [("diffusion", {"steps": 2, "label": "3"}), ("mixture", {})])
def test_more_samples_begin_with_the_same_batches(
    run: str, options: dict[str, object], runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST", 3)
    more, fewer = (vlb.sample(runs[run], SampleOptions(n=n, **options)).x for n in (10, 7))  # type: ignore[arg-type]
    assert more.shape == (10, 1, 8, 8) and np.array_equal(more[:6], fewer[:6])
    assert not any(np.array_equal(more[:3], more[start : start + 3]) for start in (3, 6))


@pytest.mark.parametrize("sampler", SAMPLERS.offered)
def test_the_bar_ends_full_whatever_the_sampler(
    sampler: str, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It moves with every evaluation where it is known how many there will be."""
    monkeypatch.setattr(batches, "MOST", 2)
    heard = Bars()
    steps = None if sampler == "ode" else 2
    vlb.sample(runs["diffusion"], SampleOptions(n=3, sampler=sampler, steps=steps), progress=heard)
    bar = heard.bars[-1]
    assert bar.done[-1] == bar.total and bar.done == sorted(set(bar.done))
    assert len(bar.done) == 2 if steps is None else len(bar.done) >= 2 * 3


def test_the_memory_of_a_batch_is_bounded_and_every_example_is_drawn_once() -> None:
    schema = levels_schema((3, 256, 256), 256)
    assert batches.batch_size(schema) == 1
    assert batches.batch_size(levels_schema((1, 8, 8), 17)) == batches.MOST
    asked: list[int] = []

    def draw(count: int, generator: torch.Generator) -> Tensor:
        asked.append(count)
        return torch.rand(count, 4, generator=generator)

    drawn = list(batches.drawn(600, levels_schema((4,), 2), 5, draw, ALONE))
    assert sum(map(len, drawn)) == sum(asked) == 600 and max(asked) <= batches.MOST
