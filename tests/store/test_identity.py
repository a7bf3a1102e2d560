"""What identifies a trained model is what is written: a field that a later version adds changes nothing."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from vlb.base.configuration import Family, override
from vlb.coding.api import compress, decompress
from vlb.coding.options import CompressOptions
from vlb.data import Dataset, load
from vlb.models.kinds import MODELS
from vlb.nn.backbones import BACKBONES
from vlb.store.identity import identity
from vlb.store.runs import Run
from vlb.training.loop import fit
from vlb.training.recipes import recipe


@contextmanager
def one_field_more(family: Family, tag: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it, the configuration under `tag` is a class of another name with a field that it had not."""
    old = family.offered[tag]
    new = dataclasses.make_dataclass(
        f"Later{old.__name__}",
        [("later", float, dataclasses.field(default=0.5))],
        bases=(old,),
        frozen=True,
        kw_only=True,
    )
    with patch.context() as within:
        within.setattr(family, "offered", {**family.offered, tag: new})
        within.setattr(family, "_tags", {**family._tags, new: tag})
        yield


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def run(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    experiment = recipe("digits")
    for assignment in (
        "steps=2", "batch=8", "backbone=mlp", "backbone.width=8", "blocks=1", "validate_every=2", "warmup=1",
        "validation_examples=8",
    ):  # fmt: skip
        experiment = override(experiment, assignment)
    made = Run.create(tmp_path_factory.mktemp("identity") / "run", experiment, digits)
    assert fit(experiment, digits, made)
    return made


def test_a_new_field_makes_nothing_unreadable(
    run: Run, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is loaded and archives of before are decoded, one that carries its model among them."""
    np.save(tmp_path / "x.npy", digits.test.x[:3])
    for name, embed in (("bare", False), ("carried", True)):
        compress(run, [tmp_path / "x.npy"], tmp_path / f"{name}.vlb", CompressOptions(lanes=3, embed_model=embed))
    before, x = run.fingerprint, run.model().sample(2, steps=2, generator=torch.Generator().manual_seed(0))
    with (
        one_field_more(MODELS, "diffusion", monkeypatch),
        one_field_more(BACKBONES, "mlp", monkeypatch),
    ):
        again = Run.open(run.path)
        assert type(again.configuration).__name__ == "LaterDiffusion"
        assert type(again.configuration.backbone).__name__.startswith("Later")  # type: ignore[union-attr]
        assert again.fingerprint == before
        assert torch.equal(again.model().sample(2, steps=2, generator=torch.Generator().manual_seed(0)), x)
        for name, given in (("bare", run.path), ("carried", None)):
            decompress(tmp_path / f"{name}.vlb", tmp_path / name, run=given)
            assert (tmp_path / name / "x.npy").read_bytes() == (tmp_path / "x.npy").read_bytes()


def test_identity_is_of_model_schema_and_tensors_alone(run: Run, tmp_path: Path) -> None:
    content = json.loads((run.path / "config.json").read_text())
    content["experiment"]["training"]["steps"] = 99
    content["data"]["name"] = "other"
    assert Run(run.path, content).fingerprint == run.fingerprint
    content["model"]["backbone"]["dropout"] = 0.7
    assert Run(run.path, content).fingerprint != run.fingerprint
    model, schema, tensors = {"a": 1}, {"b": 2}, {"x": torch.arange(6.0).reshape(2, 3), "y": torch.zeros(1)}
    own = identity(model, schema, tensors)
    assert own == identity(model, schema, dict(reversed(tensors.items())))
    assert own == identity(model, schema, {**tensors, "x": tensors["x"].T.contiguous().T})  # by value, not by memory
    for other in (
        {"x": tensors["x"], "z": tensors["y"]},
        {**tensors, "x": tensors["x"].view(3, 2)},
        {**tensors, "y": torch.ones(1)},
    ):
        assert identity(model, schema, other) != own


def test_a_model_needs_no_data(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is loaded where its data cannot be had."""
    from vlb.store import runs

    def gone(*_: object) -> Dataset:
        raise AssertionError("the data were asked for")

    monkeypatch.setattr(runs, "load_data", gone)
    assert runs.load(run.path).sample(2, steps=2).shape == (2, 1, 8, 8)
