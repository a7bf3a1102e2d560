"""Runs and archives that the first format left are read: these were written by the version before identity changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vlb.base.configuration import decode
from vlb.base.errors import UserError
from vlb.coding.api import decompress
from vlb.models.kinds import LOSSES, MODELS
from vlb.store import before
from vlb.store.experiment import Experiment
from vlb.store.runs import Run, load

BEFORE = Path(__file__).parent / "before"
KINDS = ("diffusion", "mixture", "vae")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_before_is_loaded(kind: str) -> None:
    run = Run.open(BEFORE / "runs" / kind)
    assert run.schema.shape == (1, 8, 8) and run.schema.levels == 17 and run.schema.labels == tuple("0123456789")
    assert run.conditional == (kind == "diffusion")
    assert load(run.path).sample(2).shape == (2, 1, 8, 8)
    assert run.data().fingerprint


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("embedded", [False, True])
def test_an_archive_of_before_is_decoded(kind: str, embedded: bool, tmp_path: Path) -> None:
    run = None if embedded else shutil.copytree(BEFORE / "runs" / kind, tmp_path / "run")
    decompress(BEFORE / f"{kind}{'-carried' if embedded else ''}.vlb", tmp_path / "out", run=run)
    assert (tmp_path / "out/three.npy").read_bytes() == (BEFORE / "three.npy").read_bytes()
    assert np.load(tmp_path / "out/three.npy").shape == (3, 1, 8, 8)


def test_every_configuration_of_before_is_understood() -> None:
    """Those that the first format could write with every choice that it offered, once each."""
    described = {"name": "digits", "fingerprint": "0", "shape": [1, 8, 8], "levels": 17, "classes": 10}
    for written in json.loads((BEFORE / "experiments.json").read_text()):
        content = before.run({"format": 1, "experiment": written, "data": described})
        read = decode(Experiment, {**content["experiment"], "model": content["model"]})
        assert MODELS.tag(read.model) == content["model"]["type"]
        assert LOSSES.tag(read.loss) == LOSSES.tag(read.model.trained_by())


@pytest.mark.parametrize(("name", "value"), [("known_share", 0.95), ("known_share", 1.0), ("decoder_share", 2.0)])
def test_a_run_whose_training_is_admitted_no_longer_says_what_to_change(
    name: str, value: float, tmp_path: Path
) -> None:
    """And with that changed it is the same model, with the same identity."""
    path = Path(shutil.copytree(Run.open("vlb:digits").path, tmp_path / "run"))
    content = json.loads((path / "config.json").read_text())
    usual = content["experiment"]["loss"][name]
    content["experiment"]["loss"][name] = value
    (path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"config.json.*loss\.{name}: expected .*change it in the file"):
        _ = Run.open(path).experiment
    content["experiment"]["loss"][name] = usual
    (path / "config.json").write_text(json.dumps(content))
    assert Run.open(path).experiment == Run.open("vlb:digits").experiment
    content["experiment"]["loss"]["known_share"] = 0.9
    (path / "config.json").write_text(json.dumps(content))
    assert Run.open(path).trained.identity == Run.open("vlb:digits").trained.identity
