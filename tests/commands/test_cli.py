"""The command line as a person meets it: results, and messages with exit status 2."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlb.interfaces.cli import app, main
from vlb.store import checkpoint
from vlb.store.runs import Run

TINY = [
    part
    for s in (
        "steps=4",
        "batch=8",
        "model.backbone=mlp",
        "model.backbone.width=16",
        "model.backbone.blocks=1",
        "validate_every=2",
    )
    for part in ("--set", s)
]


def vlb(*arguments: str | Path) -> int:
    """Run the command line in this process; its exit status."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "labelled"
    assert vlb("train", "digits", "--out", path, "--condition", "labels", *TINY) == 0
    return path


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "plain"
    assert vlb("train", "digits", "--out", path, *TINY) == 0
    return path


def test_help_needs_no_torch() -> None:
    """Nor does that of any command."""
    code = (
        "import sys, vlb.interfaces.cli as cli\n"
        "for words in ([], *([name] for name in cli.app if not name.startswith('-'))):\n"
        "    try: cli.main([*words, '--help'])\n"
        "    except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout and "--likelihood" in result.stdout


def test_recipes_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    app("recipes", result_action="return_value")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][:2] == ["digits", "mnist"]
    assert all(len(line.split()) > 3 for line in lines)


def test_evaluation_states_everything(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    assert vlb("evaluate", run, "--json", out, "--passes", "2") == 0
    result = json.loads(out.read_text())
    assert result["bits_per_dim"] == pytest.approx(sum(result["terms"].values()))
    assert set(result["terms"]) == {"reconstruction", "prior", "diffusion"}
    assert set(result["baselines"]) == {"uniform", "independent_pixels", "lzma"}
    assert (result["examples"], result["dimensions"], result["levels"]) == (360, 64, 17)
    assert result["standard_error"] > 0
    assert "x | y" in result["bound"]
    assert result["data"]["name"] == "digits" and result["data"]["fingerprint"]
    assert vlb("evaluate", run, "--json", out) == 2  # nothing is written over
    assert json.loads(out.read_text()) == result


@pytest.mark.parametrize("kernel, placement", [("mixture", "dp"), ("moment", "snr"), (None, None)])
def test_discrete_time_is_labelled(unlabelled: Path, tmp_path: Path, kernel: str | None, placement: str | None) -> None:
    out = tmp_path / "e.json"
    options = [*(("--kernel", kernel) if kernel else ()), *(("--placement", placement) if placement else ())]
    assert (
        vlb("evaluate", unlabelled, "--json", out, "--passes", "2", "--examples", "30", "--steps", "3", *options) == 0
    )
    result = json.loads(out.read_text())
    assert set(result["terms"]) == {"reconstruction", "prior", "diffusion"}
    assert len(result["kl_per_rung"]) == 3
    assert sum(result["kl_per_rung"]) == pytest.approx(result["terms"]["diffusion"])
    assert result["bits_per_dim"] == pytest.approx(sum(result["terms"].values()))
    assert result["bound"].startswith("discrete-time") and "T = 3" in result["bound"]
    used = result["discretisation"]
    assert (used["steps"], used["kernel"], used["placement"]) == (3, kernel or "standard", placement or "t")
    assert len(used["times"]) == 4 and used["gamma"] == sorted(used["gamma"])


def test_samples_repeat_with_their_seed(run: Path, tmp_path: Path) -> None:
    def sample(name: str, seed: int) -> np.ndarray:
        status = vlb("sample", run, "-n", "5", "--steps", "3", "--seed", str(seed), "-o", tmp_path / name)
        assert status == 0
        return np.load(tmp_path / name)["x"]

    a, b, c = sample("a.npz", 0), sample("b.npz", 0), sample("c.npz", 1)
    assert a.shape == (5, 1, 8, 8) and a.dtype == np.uint8 and a.max() <= 16
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_samples_of_a_class_as_a_picture(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "threes.png"
    assert vlb("sample", run, "-n", "4", "--steps", "2", "--class", "3", "-o", out) == 0
    with Image.open(out) as picture:
        assert picture.size == (19, 19)


def test_ones_own_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    tiny = [p for s in ("steps=2", "batch=4", "widths=[8,8]", "attention=[false,true]") for p in ("--set", s)]
    run = tmp_path / "run"
    assert vlb("train", "images", "--data", tmp_path, "--out", run, *tiny) == 0
    assert vlb("evaluate", run, "--passes", "2") == 0
    assert vlb("sample", run, "-n", "2", "--steps", "2", "-o", tmp_path / "s.png") == 0


def test_data_may_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, moved = tmp_path / "t.csv", tmp_path / "run", tmp_path / "moved.csv"
    data.write_text("a,b\n" + 20 * "1,2\n2,1\n")
    assert vlb("train", "discrete-table", "--data", data, "--out", run, "--set", "steps=2") == 0
    data.rename(moved)
    assert vlb("evaluate", run) == 2
    assert "--data PATH" in capsys.readouterr().err.replace("\n", " ")
    assert vlb("evaluate", run, "--data", moved) == 0


def test_a_reader_may_stop_reading() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vlb", "recipes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate()
    assert process.returncode == 141 and error == ""


def test_finished_runs_resume_to_themselves(unlabelled: Path) -> None:
    before = (unlabelled / "checkpoints/last.safetensors").read_bytes()
    assert vlb("train", "digits", "--out", unlabelled, "--resume") == 0
    assert (unlabelled / "checkpoints/last.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "digitz"), "did you mean 'digits'"),
        (("train", "digits", "--set", "stepz=3"), "did you mean 'steps'"),
        (
            ("train", "digits", "--set", "steps=-1"),
            "training.steps: expected a whole number from 0 to",
        ),
        (("train", "digits", "--condition", "label"), "did you mean 'labels'"),
        (("train", "digits", "--data", "."), "brings its own data"),
        (("train", "images"), "--data PATH"),
        (("train", "images", "--data", "/nowhere"), "/nowhere"),
        (("train", "digits", "--resume"), "--out"),
        (("train", "digits", "--resume", "--out", "/nowhere"), "is not a run"),
        (("train", "digits", "--out", "RUN"), "exists already"),
        (("train", "digits", "--out", "RUN", "--resume", "--set", "steps=9"), "leave out --set"),
        (("train", "mnist", "--out", "RUN", "--resume"), "is a run of the recipe 'digits'"),
        (("train", "digits", "--set", "backbone=unet", "--set", "widths=[8]"), "one entry per resolution"),
        (("train", "digits", "--set", "gamma_0=6"), "γ₀ < γ₁"),
        (
            ("train", "digits-vae", "--set", "model.latents=1000000000000"),
            "from 1 to 65,536, not 1000000000000",
        ),
        (("sample", "RUN", "-n", "1000000000", "-o", "x.png"), "more memory than there is"),
        (("train", "digits", "--device", "tpu"), "no device"),
        (("evaluate", "/nowhere"), "is not a run"),
        (("evaluate", "RUN", "--split", "tset"), "test"),
        (("evaluate", "RUN", "--passes", "1"), "--passes: expected a whole number from 2 to 1,000,000,000, not 1"),
        (("evaluate", "RUN", "--kernel", "mixture"), "how many --steps"),
        (("evaluate", "RUN", "--steps", "0"), "--steps: expected a whole number from 1"),
        (("evaluate", "RUN", "--steps", "2", "--kernel", "mixtur"), "'mixture'"),
        (("evaluate", "RUN", "--steps", "2", "--placement", "tt"), "'t'"),
        (("evaluate", "RUN", "--steps", "500", "--placement", "dp"), "up to 128"),
        (("evaluate", "RUN", "--json", "/nowhere/x.json"), "no folder"),
        (("sample", "RUN", "-o", "x.gif"), ".png"),
        (("sample", "RUN", "-n", "0", "-o", "x.png"), "-n: expected a whole number from 1"),
        (("sample", "RUN", "--class", "3", "-o", "x.png"), "without labels"),
        (("sample", "LABELLED", "--class", "10", "-o", "x.png"), "the classes are 0, 1, 2"),
    ],
)
def test_bad_input_is_explained(
    arguments: tuple[str, ...],
    message: str,
    run: Path,
    unlabelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(unlabelled), "LABELLED": str(run)}
    assert vlb(*(places.get(a, a) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error.replace("\n", " ") and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_run_may_be_named_by_a_string(unlabelled: Path) -> None:
    assert Run.open(str(unlabelled)).path == unlabelled


@pytest.mark.parametrize("damage", ["truncate", "edit"])
def test_a_damaged_checkpoint_is_refused(
    damage: str, unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_bytes((unlabelled / "config.json").read_bytes())
    content = bytearray((unlabelled / "checkpoints/best.safetensors").read_bytes())
    if damage == "truncate":
        content = content[: len(content) // 2]
    else:
        content[-100] ^= 1
    (tmp_path / "checkpoints/best.safetensors").write_bytes(content)
    assert vlb("evaluate", tmp_path) == 2
    assert "best.safetensors" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize("name, value", [("kinds", "17"), ("layout", "abc"), ("labels", -1), ("shape", 3)])
def test_a_changed_schema_is_refused(
    name: str, value: object, unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((unlabelled / "config.json").read_text())
    content["schema"][name] = value
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert vlb("sample", tmp_path, "-o", tmp_path / "x.png") == 2
    assert "config.json: schema" in capsys.readouterr().err.replace("\n", " ")


def test_a_checkpoint_of_another_version_is_refused(
    unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.open(Path(shutil.copytree(unlabelled, tmp_path / "run")))
    stored = checkpoint.read(run.last)
    checkpoint.save(run.last, stored._replace(state={k: v for k, v in stored.state.items() if k != "guard"}))
    assert vlb("train", "digits", "--out", run.path, "--resume") == 2
    assert "has no guard" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", 100_000 * "[", '{"format": 1, "data": {}, "experiment": 3}', '{"format": 99}'],
    ids=["nothing", "list", "object", "nested", "neither", "format"],
)
def test_a_damaged_config_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(content)
    assert vlb("evaluate", tmp_path) == 2
    assert "config.json" in capsys.readouterr().err.replace("\n", "")
