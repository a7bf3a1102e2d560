"""What runs and archives say of their models may come from anywhere: it gives a model, or a sentence says why not."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from vlb.base.configuration import encode, override
from vlb.base.errors import UserError
from vlb.coding.carried import bare
from vlb.core.schema import levels_schema
from vlb.data import Dataset, Split
from vlb.models.mixture.config import Mixture
from vlb.models.vae.config import HVAE, VAE
from vlb.models.vae.prior import Vamp
from vlb.nn.coder import DenseCoder
from vlb.store.carried import from_carried
from vlb.store.experiment import Experiment
from vlb.store.runs import FORMAT, Run
from vlb.training.recipes import recipe

EARLIER = Path(__file__).parent / "before" / "runs"
SENSELESS: list[Any] = [
    -1, 0, 0.5, 3, 1000, 2**31, 2**62, 10**12, 10**30, 1e30, -1e30, float("nan"), float("inf"), None, True, "", "x", [],
    [[]], [-1], [1] * 70, [10**12], ["a", "a"], {}, {"type": "mlp"}, {"type": "learned", "units": -3},
]  # fmt: skip


class Said(NamedTuple):
    """A model as an archive carries it."""

    content: dict[str, Any]
    tensors: dict[str, Tensor]

    def read(self, content: Any = None, tensors: dict[str, Tensor] | None = None) -> Any:
        line = json.dumps(self.content if content is None else content)
        return bare(from_carried(line.encode() + b"\n" + save(tensors or self.tensors), Path("x.vlb")))


def described(model: Any) -> Said:
    x = np.random.default_rng(0).integers(0, 4, (12, 1, 2, 2)).astype(np.uint8)
    data = Dataset("tiny", levels_schema((1, 2, 2), 4, 2), Split(x[:8]), Split(x[8:10]), Split(x[10:]))
    experiment = Experiment(recipe="x", model=model)
    content = {"format": FORMAT, "model": encode(experiment)["model"], "schema": encode(data.schema)}
    return Said(content, {name: value.clone() for name, value in experiment.build(data).state_dict().items()})


def diffusion(*changes: str) -> Any:
    experiment = recipe("digits")
    for change in ("model.backbone=mlp", "backbone.width=4", "backbone.blocks=1", *changes):
        experiment = override(experiment, change)
    return experiment.model


CARRIED = {
    "diffusion": described(diffusion()),
    "learned": described(diffusion("head=mixture", "schedule=learned", "schedule.units=3")),
    "vae": described(VAE(latents=2, coder=DenseCoder(width=4), prior=Vamp(inputs=3))),
    "hvae": described(HVAE(latents=(2, 2), width=4)),
    "mixture": described(Mixture(components=2, em_steps=1)),
}
KINDS = pytest.mark.parametrize("said", CARRIED.values(), ids=CARRIED)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inside:
        yield from places(part, (*place, name))


def changed(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    """A JSON value with another one in a place, or without it where that is `places`."""
    if not place:
        return other
    head, *rest = place
    copied = dict(value) if isinstance(value, dict) else list(value)
    if not rest and other is places:
        del copied[head]
    else:
        copied[head] = changed(value[head], tuple(rest), other)
    return copied


@KINDS
def test_what_is_carried_is_read(said: Said) -> None:
    state = said.read().model.state_dict()
    assert all(torch.equal(state[name], value.to(state[name].dtype)) for name, value in said.tensors.items())


@KINDS
@settings(derandomize=True, deadline=None, max_examples=60, database=None)
@given(data=st.data())
def test_a_changed_description_gives_a_model_or_a_sentence(said: Said, data: st.DataObject) -> None:
    content: Any = said.content
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(list(places(content))))
        other = data.draw(st.sampled_from([places, *SENSELESS])) if place else data.draw(st.sampled_from(SENSELESS))
        content = changed(content, place, other)
    try:
        model = said.read(content).model
    except UserError as error:
        assert "x.vlb" in str(error) and len(str(error)) < 2000
        return
    assert isinstance(model, torch.nn.Module)


@KINDS
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 1e8])
def test_weights_that_make_no_sense_are_refused(said: Said, value: float) -> None:
    """1e8 might be a weight: what cannot be computed with it is a sentence, too."""
    for name, tensor in said.tensors.items():
        if tensor.is_floating_point():
            other = tensor.clone()
            other.view(-1)[-1] = value
            if abs(value) < 1e9:
                with suppress(UserError):
                    said.read(tensors={**said.tensors, name: other})
                continue
            with pytest.raises(UserError, match="weights are broken"):
                said.read(tensors={**said.tensors, name: other})


@pytest.mark.parametrize("name", ["diffusion", "vae", "mixture", "today"])
@settings(derandomize=True, deadline=None, max_examples=60, database=None)
@given(data=st.data())
def test_a_changed_configuration_gives_a_run_or_a_sentence(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of the first format and of today's, whose weights are those of the first."""
    path = tmp_path_factory.mktemp("run") / name
    shutil.copytree(EARLIER / ("vae" if name == "today" else name), path)
    file = path / "config.json"
    content: Any = json.loads(file.read_text())
    if name == "today":
        opened = Run.open(path)
        content = opened.content | {"format": FORMAT}
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(list(places(content))))
        other = data.draw(st.sampled_from([places, *SENSELESS])) if place else data.draw(st.sampled_from(SENSELESS))
        content = changed(content, place, other)
    file.write_text(json.dumps(content))
    try:
        run = Run.open(path)
        assert run.schema and run.experiment and run.configuration.takes is not None
        run.refuse_unlabelled("this")
        assert run.about is None or run.about.splits is not None
    except UserError as error:
        assert len(str(error)) < 2000
