"""`vlb tightness`: what is stated of a trained model, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.commands.test_cli import TINY, vlb

QUICK = ("--examples", "6", "--draws", "3")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert vlb("train", "digits", "--out", path, *TINY) == 0
    return path


def trained(folder: Path, recipe: str) -> Path:
    assert vlb("train", recipe, "--out", folder / recipe, "--set", "steps=2", "--set", "validate_every=0") == 0
    return folder / recipe


def test_diffusion_model(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t.json"
    assert vlb("tightness", run, *QUICK, "--steps", "4", "--kernel", "mixture", "--ode", "--json", out) == 0
    found = json.loads(out.read_text())
    assert found["examples"] == 6 and found["split_examples"] == 360
    assert list(found["discrete"]["terms"]) == ["reconstruction", "prior", "kl_1", "kl_2", "kl_3", "kl_4"]
    assert sum(found["discrete"]["terms"].values()) == pytest.approx(found["discrete"]["bits_per_dim"])
    assert found["looseness_found"]["nats"] >= 0
    assert 1 <= found["importance"]["median_effective_draws"] <= 3
    assert "T = 4" in found["discrete"]["bound"] and "continuous-time" in found["continuous"]["bound"]
    assert "a model of its own" in found["ode"]["bound"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "looseness found is a lower bound" in printed and "another model" in printed
    assert vlb("tightness", run, *QUICK, "--json", out) == 2


def test_vae_has_its_own_levels(tmp_path: Path) -> None:
    out = tmp_path / "t.json"
    assert vlb("tightness", trained(tmp_path, "digits-vae"), *QUICK, "--json", out) == 0
    found = json.loads(out.read_text())
    assert found["continuous"] is None and found["ode"] is None
    assert list(found["discrete"]["terms"]) == ["reconstruction", "kl_1"]


def test_models_without_a_bound_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vlb("tightness", trained(tmp_path, "digits-mixture"), *QUICK) == 2
    assert "exact" in capsys.readouterr().err
    assert vlb("tightness", trained(tmp_path, "digits-ladder"), *QUICK) == 2
    assert "ladder network has no likelihood" in capsys.readouterr().err


def test_a_single_example_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8))
    run, out = tmp_path / "run", tmp_path / "t.json"
    small = [part for s in ("steps=2", "widths=[8,8]", "attention=[false,false]") for part in ("--set", s)]
    assert vlb("train", "images", "--data", tmp_path / "x.npy", "--out", run, *small) == 0
    assert vlb("tightness", run, "--steps", "2", "--draws", "2", "--json", out) == 2
    assert "has 1 example" in capsys.readouterr().err and not out.exists()


def test_notes_are_about_the_model_at_hand(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vlb("tightness", trained(tmp_path, "digits-vae"), "--examples", "6", "--draws", "2") == 0
    assert "--steps" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, words",
    [
        (("--steps", "0"), "--steps"),
        (("--steps", "5000"), "--steps"),
        (("--draws", "1"), "--draws"),
        (("--examples", "1"), "--examples"),
        (("--kernel", "mixtur"), "did you mean 'mixture'"),
    ],
)
def test_bad_options_are_refused(run: Path, options: tuple[str, ...], words: str, capsys) -> None:  # type: ignore[no-untyped-def]
    assert vlb("tightness", run, *options) == 2
    assert words in capsys.readouterr().err
