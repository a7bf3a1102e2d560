"""`vlb evaluate --likelihood`: everything that qualifies the number is printed and written beside it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_cli import TINY, vlb


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "labelled"
    assert vlb("train", "digits", "--out", path, "--condition", "labels", *TINY) == 0
    return path


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "vae"
    assert vlb("train", "digits-vae", "--out", path, "--set", "steps=2", "--set", "validate_every=2") == 0
    return path


def evaluated(run: Path, out: Path, *options: str) -> dict[str, Any]:
    assert vlb("evaluate", run, "--json", out, "--passes", "2", *options) == 0
    result: dict[str, Any] = json.loads(out.read_text())
    assert result["bits_per_dim"] == pytest.approx(sum(result["terms"].values()))
    assert result["standard_error"] == pytest.approx((result["se_data"] ** 2 + result["se_monte_carlo"] ** 2) ** 0.5)
    return result


def test_importance_over_trajectories_is_labelled(run: Path, tmp_path: Path) -> None:
    options = ("--likelihood", "importance", "--draws", "3", "--steps", "2", "--kernel", "mixture", "--examples", "20")
    result = evaluated(run, tmp_path / "e.json", *options)
    assert (result["examples"], result["split_examples"]) == (20, 360)
    assert "importance-weighted discrete-time" in result["bound"] and "x | y" in result["bound"]
    assert "T = 2" in result["bound"] and "K = 3" in result["bound"]
    effective = result["likelihood"].pop("effective_draws")
    assert 1 <= effective <= 3
    # Two network evaluations per trajectory, and one more for the decoder.
    assert result["likelihood"] == {"kind": "importance", "draws": 3, "steps": 2, "evaluations": 9}
    assert len(result["discretisation"]["times"]) == 3


def test_importance_weighs_a_vae(vae: Path, tmp_path: Path) -> None:
    result = evaluated(vae, tmp_path / "e.json", "--likelihood", "importance")
    assert result["bound"] == "importance-weighted variational bound on -log p(x), K = 16"
    assert result["examples"] == 100 and result["discretisation"] is None


@pytest.mark.parametrize(
    "dequantisation, words",
    [
        (None, "decoder"),
        ("uniform", "uniform"),
        ("truncated-normal", "truncated-normal"),
        ("variational", "variational"),
    ],
)
def test_the_ode_is_labelled(run: Path, tmp_path: Path, dequantisation: str | None, words: str) -> None:
    options = () if dequantisation is None else ("--dequantisation", dequantisation)
    out = tmp_path / "e.json"
    result = evaluated(run, out, "--likelihood", "ode", "--examples", "20", "--tolerance", "1e-2", *options)
    assert "bound on -log p(x | y) of the probability-flow ODE" in result["bound"] and words in result["bound"]
    assert set(result["terms"]) == {"reconstruction", "dequantisation", "flow"}
    used = result["likelihood"]
    assert used["kind"] == "ode" and used["dequantisation"] == (dequantisation or "diffused")
    assert (used["divergence"], used["tolerance"], used["steps"]) == ("hutchinson", 1e-2, None)
    assert used["evaluations"] > 12
    assert result["solver_error"] > 0
    again = evaluated(
        run, tmp_path / "again.json", "--likelihood", "ode", "--examples", "20", "--tolerance", "1e-2", *options
    )
    # Read from the file of the values.
    assert (again["likelihood"], again["solver_error"]) == (used, result["solver_error"])


def test_the_ode_may_take_fixed_steps(run: Path, tmp_path: Path) -> None:
    options = ("--likelihood", "ode", "--examples", "2", "--steps", "3", "--divergence", "exact")
    result = evaluated(run, tmp_path / "e.json", *options)
    used = result["likelihood"]
    assert (used["steps"], used["placement"], used["tolerance"], used["evaluations"]) == (3, "snr", None, 19 + 13)
    assert "fixed steps" in result["bound"] and "exact divergence" in result["bound"]
    assert result["discretisation"] is None


def test_a_subset_of_the_bound_is_stated(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluated(run, tmp_path / "e.json", "--examples", "30")
    assert result["examples"] == 30 and result["likelihood"] == {"kind": "bound"}
    assert "30 of 360 examples" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "options, message",
    [
        (("--likelihood", "iwae"), "not offered"),
        (("--likelihood", "importance"), "--steps"),
        (("--draws", "4"), "belongs to --likelihood importance"),
        (("--likelihood", "importance", "--steps", "2", "--draws", "0"), "expected a whole number from 1"),
        (("--tolerance", "1e-3"), "belong to --likelihood ode"),
        (("--likelihood", "ode", "--tolerance", "0"), "--tolerance: expected"),
        (("--likelihood", "ode", "--tolerance", "1e-3", "--steps", "4"), "one of the two"),
        (("--likelihood", "ode", "--kernel", "mixture"), "continuous"),
        (("--likelihood", "ode", "--dequantisation", "unifrom"), "did you mean 'uniform'"),
        (("--likelihood", "ode", "--divergence", "hutch"), "not offered"),
        (("--likelihood", "ode", "--steps", "4", "--placement", "dp"), "t or snr"),
        (("--likelihood", "ode", "--steps", "0"), "expected a whole number from 1"),
        (("--examples", "0"), "expected a whole number from 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    run: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vlb("evaluate", run, *options) == 2
    assert message in capsys.readouterr().err


def test_a_mixture_has_nothing_to_weigh_and_a_ladder_no_likelihood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brief = ("--set", "steps=2", "--set", "validate_every=2")
    ladder = ("--set", "model.widths=[16]", "--set", "costs=[1, 1, 1]")
    for recipe, settings, message in (
        ("digits-mixture", (), "exact log p(x)"),
        ("digits-ladder", ladder, "no likelih"),
    ):
        assert vlb("train", recipe, "--out", tmp_path / recipe, *brief, *settings) == 0
        capsys.readouterr()
        assert vlb("evaluate", tmp_path / recipe, "--likelihood", "importance") == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_only_diffusion_models_have_an_ode(vae: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vlb("evaluate", vae, "--likelihood", "ode") == 2
    assert "needs a diffusion model" in capsys.readouterr().err
