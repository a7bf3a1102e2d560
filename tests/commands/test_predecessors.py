"""The predecessors of diffusion through the command line: the same verbs, or the reason why not."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.commands.test_cli import vlb
from vlb.store.checkpoint import read

TINY = [
    part for s in ("steps=4", "batch=16", "validate_every=2", "training.log_every=2", "validation_examples=50")
    for part in ("--set", s)
]  # fmt: skip
DEPTHS = {"digits-vae": 1, "digits-hvae-bottom-up": 3, "digits-hvae-top-down": 3}
SETTINGS = {
    "digits-mixture": ("components=3", "em_steps=2"),
    "digits-vae": ("coder.width=16",),
    "digits-hvae-bottom-up": ("model.width=16",),
    "digits-hvae-top-down": ("model.width=16",),
    "digits-ladder": ("model.widths=[16]", "costs=[1, 1, 1]"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for name, settings in SETTINGS.items():
        own = [part for setting in settings for part in ("--set", setting)]
        assert vlb("train", name, "--out", folder / name, *TINY, *own) == 0
    return {name: folder / name for name in SETTINGS}


@pytest.mark.parametrize("name", [*DEPTHS, "digits-mixture"])
def test_every_likelihood_goes_through_the_same_verbs(name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    assert vlb("evaluate", runs[name], "--passes", "2", "--json", out) == 0
    result = json.loads(out.read_text())
    assert result["bits_per_dim"] == pytest.approx(sum(result["terms"].values()))
    assert result["nats_per_example"] == pytest.approx(result["bits_per_dim"] * 64 * np.log(2))
    assert (result["examples"], result["kind"]) == (360, "discrete, 17 levels")
    if name == "digits-mixture":
        assert result["bound"].startswith("exact") and result["se_monte_carlo"] == 0
        assert result["kl_per_rung"] is None
    else:
        assert result["bound"].startswith("variational bound")
        levels = [result["terms"][f"kl_{i + 1}"] for i in range(DEPTHS[name])]
        assert result["kl_per_rung"] == pytest.approx(levels)
    assert vlb("sample", runs[name], "-n", "5", "-o", tmp_path / "x.npz") == 0
    x = np.load(tmp_path / "x.npz")["x"]
    assert x.shape == (5, 1, 8, 8) and x.dtype == np.uint8 and x.max() <= 16
    assert vlb("report", runs[name]) == 0
    assert f"{result['dimensions']} dimensions" in (runs[name] / "report.html").read_text()


def test_evaluation_says_nats_too(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert vlb("evaluate", runs["digits-vae"], "--passes", "2") == 0
    assert "nats per example" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("prior", ["vamp", "aggregate"])
def test_priors_made_of_posteriors_are_trained_kept_and_resumed(prior: str, tmp_path: Path) -> None:
    """The encoder, which they share, is in the checkpoint once; there is nothing Gaussian to cool."""
    settings = [*TINY, "--set", "coder.width=16", "--set", f"prior={prior}"]
    assert vlb("train", "digits-vae", "--out", tmp_path / "run", *settings) == 0
    assert vlb("train", "digits-vae", "--out", tmp_path / "run", "--resume") == 0
    weights = read(tmp_path / "run/checkpoints/last.safetensors").section("weights.model")
    inputs = weights["generator.top.inputs"]
    assert inputs.shape[1:] == (1, 8, 8) and not any("top._encode" in name for name in weights)
    assert len([name for name in weights if name.endswith("network.first.weight")]) == 1
    assert vlb("evaluate", tmp_path / "run", "--passes", "2") == 0
    assert vlb("report", tmp_path / "run") == 0
    out = tmp_path / "x.npz"
    assert vlb("sample", tmp_path / "run", "-n", "2", "--temperature", "0.5", "-o", out) == 2
    assert vlb("sample", tmp_path / "run", "-n", "2", "-o", out) == 0


def test_a_ladder_is_judged_by_errors_and_costs(runs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    assert vlb("evaluate", runs["digits-ladder"], "--json", out) == 0
    result = json.loads(out.read_text())
    assert 0 <= result["error_rate"] <= 1 and result["examples"] == 360 and result["labels_used"] == 100
    assert len(result["cost_per_layer"]) == 3 and min(result["cost_per_layer"]) > 0
    assert result["likelihood"] is None and "bits_per_dim" not in result
    assert vlb("report", runs["digits-ladder"]) == 0
    assert "bits/dim" not in (runs["digits-ladder"] / "report.html").read_text()


def test_the_loss_is_logged_in_its_unit(runs: dict[str, Path]) -> None:
    for name, path in runs.items():
        lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        keys = {key for line in lines for key in line}
        assert ("bits_per_dim" in keys, "loss" in keys) == ((False, True) if "ladder" in name else (True, False))


@pytest.mark.parametrize("temperatures", [("0.5",), ("1", "0.8", "0")])
def test_hierarchies_sample_with_a_temperature_per_level(
    temperatures: tuple[str, ...], runs: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("digits-hvae-bottom-up", "digits-hvae-top-down"):
        out = tmp_path / f"{name}.npz"
        assert vlb("sample", runs[name], "-n", "3", "--temperature", *temperatures, "-o", out) == 0
        assert np.load(out)["x"].shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "digits-ladder", "-o", "x.npz"), "no likelihood"),
        (("sample", "digits-ladder", "--steps", "3", "-o", "x.npz"), "no likelihood"),
        (("evaluate", "digits-ladder", "--steps", "3"), "no likelihood"),
        (("evaluate", "digits-ladder", "--examples", "20"), "leave out --examples"),
        (("train", "digits-vae", "--seed", "-1"), "seed"),
        (("train", "digits-vae", "--seed", str(2**63)), "seed"),
        (("evaluate", "digits-ladder", "--likelihood", "importance"), "no likelihood"),
        (("compare", "digits-ladder", "uniform"), "no likelihood"),
        (("compress", "digits-ladder", ".", "-o", "x.vlb"), "no likelihood"),
        (("evaluate", "digits-vae", "--steps", "3"), "needs a diffusion model"),
        (("compress", "digits-vae", ".", "-o", "x.vlb", "--steps", "3"), "--steps is for diffusion models"),
        (("sample", "digits-vae", "--sampler", "ddim", "-o", "x.npz"), "needs a diffusion model"),
        (("sample", "digits-hvae-top-down", "--temperature", "1", "0.5", "-o", "x.npz"), "3 rungs"),
        (
            ("sample", "digits-hvae-top-down", "--temperature", "-1", "-o", "x.npz"),
            "--temperature[0]: expected a number",
        ),
        (("sample", "digits-mixture", "--temperature", "0.5", "-o", "x.npz"), "leave it out"),
        (("train", "digits-vae", "--set", "model.latents=0"), "model.latents: expected a whole number from 1"),
        (("train", "digits-hvae-top-down", "--set", "model.latents=[]"), "at least one rung"),
        (("train", "digits-hvae-top-down", "--set", "model.latents=[8, 0]"), "model.latents[1]: expected"),
        (("train", "digits-hvae-bottom-up", "--set", "inference=bottomup"), "did you mean 'bottom-up'"),
        (("train", "digits-vae", "--set", "likelihood=bernoulli"), "likelihood=categorical"),
        (("train", "digits-vae", "--set", "likelihood=gaussian"), "likelihood=categorical"),
        (("train", "digits-vae", "--set", "likelihood=Bernouli"), "bernoulli"),
        (
            ("train", "digits-vae", "--set", "coder=convolutional", "--set", "coder.widths=[8, 8, 8, 8]"),
            "may ask for at most 3",
        ),
        (
            ("train", "digits-hvae-top-down", "--set", "model=residual-hvae", "--set", "halvings=[1, 4]"),
            "may ask for at most 3",
        ),
        (("train", "digits-vae", "--set", "prior=vamp", "--set", "inputs=9999"), "the 1257 that there are"),
        (("train", "digits-vae", "--condition", "labels"), "leave out --condition labels"),
        (("train", "digits-ladder", "--set", "labelled=3"), "one per class"),
        (("train", "digits-ladder", "--set", "costs=[1]"), "cost weights"),
        (("train", "digits-mixture", "--set", "components=0"), "model.components: expected"),
        (("train", "digits-mixture", "--set", "smoothing=0"), "model.smoothing: expected"),
    ],
)
def test_what_does_not_fit_says_what_to_change(
    arguments: tuple[str, ...],
    message: str,
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    verb, name, *rest = arguments
    assert vlb(verb, runs[name] if verb != "train" else name, *rest) == 2
    error = capsys.readouterr().err
    assert message in " ".join(error.split()) and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
