"""Commands that are ended from outside, that write one name at once, and that read and write streams."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.test_cli import TINY, vlb
from vlb.store.runs import Run

ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "mixture"
    assert vlb("train", "digits-mixture", "--out", path, "--set", "steps=2", "--set", "validate_every=0") == 0
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "in"
    folder.mkdir()
    for name in (b"a.png", b"\xff.png"):
        with (folder / os.fsdecode(name)).open("wb") as stream:
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, format="PNG")
    return folder


def begun(*arguments: str | Path) -> "subprocess.Popen[str]":
    """A command in a process of its own."""
    command = [sys.executable, "-m", "vlb", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number, status", ENDINGS)
def test_what_is_half_written_goes_when_a_command_is_ended(
    run: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """Of a command that is in the middle of writing."""
    code = (
        "import os, signal, sys, vlb.interfaces.cli as cli\n"
        "from pathlib import Path\n"
        "from vlb.base.files import written_new\n"
        "def verb():\n"
        "    with written_new(Path(sys.argv[1])) as temporary:\n"
        "        temporary.write_bytes(b'half')\n"
        "        os.kill(os.getpid(), int(sys.argv[2]))\n"
        "        signal.pause()\n"
        "cli.app.command(verb, name='wait')\n"
        "cli.main(['wait'])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out"), str(int(number))]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == status
    assert "Traceback" not in ended.stderr and ended.stderr.startswith("vlb: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number, status", ENDINGS)
def test_training_that_is_ended_saves(tmp_path: Path, number: signal.Signals, status: int) -> None:
    path = tmp_path / "run"
    tiny = [part.replace("steps=4", "steps=100000") for part in TINY]
    process = begun("train", "digits", "--out", path, *tiny)
    while not (path / "metrics.jsonl").is_file() or not (path / "metrics.jsonl").stat().st_size:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == status, said
    assert "saved at step" in said and "Traceback" not in said
    assert Run.open(path).last.is_file()
    assert not list(path.rglob("*.part"))


def test_what_a_killed_training_left_is_no_obstacle(tmp_path: Path) -> None:
    """Of a run that never came to be, and of a checkpoint that was being written."""
    path = tmp_path / "run"
    (path / "checkpoints").mkdir(parents=True)
    (path / "checkpoints" / ".last.safetensors.abcd1234.part").write_bytes(b"half")
    (path / "reference.safetensors").write_bytes(b"half")
    assert vlb("train", "digits", "--out", path, *TINY) == 0
    left = path / "checkpoints" / ".last.safetensors.abcd1234.part"
    left.write_bytes(b"half")
    assert vlb("train", "digits", "--out", path, "--resume") == 0
    assert not left.exists()
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    (tmp_path / "other" / "notes.txt").write_text("mine")
    assert vlb("train", "digits", "--out", tmp_path / "other", *TINY) == 2


def test_of_commands_that_write_one_name_one_has_it(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    started = [begun("sample", run, "-n", "2", "--seed", str(seed), "-o", out) for seed in range(2)]
    said = [process.communicate()[1] for process in started]
    assert sorted(process.returncode for process in started) == [0, 2], said
    assert sum("exists already" in words for words in said) == 1
    assert list(tmp_path.iterdir()) == [out]


def test_a_link_to_nothing_is_not_written_through(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.npz").symlink_to(tmp_path / "target.npz")
    assert vlb("sample", run, "-n", "2", "-o", tmp_path / "x.npz") == 2
    assert "exists already" in capsys.readouterr().err
    assert not (tmp_path / "target.npz").exists()


def test_archives_through_pipes(run: Path, pictures: Path, tmp_path: Path) -> None:
    packed = subprocess.run([sys.executable, "-m", "vlb", "compress", run, pictures, "-o", "-"], capture_output=True)
    assert packed.returncode == 0, packed.stderr
    assert b"standard output: " in packed.stderr and b"/vlb-" not in packed.stderr
    command = [sys.executable, "-m", "vlb", "decompress", "-", "--model", run, "-o", tmp_path / "out"]
    restored = subprocess.run(command, input=packed.stdout, capture_output=True)
    assert restored.returncode == 0, restored.stderr
    assert {path.name for path in (tmp_path / "out" / "in").iterdir()} == {path.name for path in pictures.iterdir()}


@pytest.mark.parametrize("verb", ["inspect", "decompress"])
def test_damage_in_a_stream_is_said_of_standard_input(
    run: Path,
    pictures: Path,
    tmp_path: Path,
    verb: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What holds it meanwhile is nobody's concern."""
    assert vlb("compress", run, pictures, "-o", tmp_path / "a.vlb") == 0
    content = bytearray((tmp_path / "a.vlb").read_bytes())
    more = ["--model", run, "-o", tmp_path / "out", "--salvage"] if verb == "decompress" else []
    for damaged in (b"none", bytes(content[:-3]), bytes(content[:-30]) + bytes(30)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(damaged)))
        capfd.readouterr()
        assert vlb(verb, "-", *more) == 2
        said = "".join(capfd.readouterr())
        assert "standard input" in said and "/vlb-" not in said
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


@pytest.mark.parametrize("verb", ["sample", "score"])
def test_streams_are_refused_elsewhere(run: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    examples = ["test"] if verb == "score" else []
    assert vlb(verb, run, *examples, "-o", "-") == 2
    assert "vlb: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("compress", "RUN", "-", "-o", "x"),
        ("score", "RUN", "-", "-o", "x"),
        ("train", "images", "--data", "-"),
        ("report", "-"),
    ],
)
def test_standard_input_is_refused_where_it_is_not_read(
    run: Path, tmp_path: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert vlb(*({"RUN": run, "x": tmp_path / "x"}.get(word, word) for word in command)) == 2
    assert "standard input is read by decompress and inspect alone" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_pipes_and_what_is_left_out(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert vlb("score", run, tmp_path / "pipe", "-o", tmp_path / "x.csv") == 2
    assert vlb("compress", run, tmp_path / "pipe", "-o", tmp_path / "x.vlb") == 2
    assert capsys.readouterr().err.count("no file and no folder") == 2
    (tmp_path / "in" / "empty").mkdir(parents=True)
    (tmp_path / "in" / "kept.txt").write_text("kept")
    os.mkfifo(tmp_path / "in" / "pipe")
    assert vlb("compress", run, tmp_path / "in", "-o", tmp_path / "in" / "x.vlb") == 0
    said = capsys.readouterr().err
    assert "left out: pipes: 1 (in/pipe)" in said and "left out: empty folders: 1 (in/empty)" in said


def test_names_that_are_no_text(run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "notes.md").write_text("")
    for name in ("x.csv", "x.npz"):
        assert vlb("score", run, pictures, "-o", tmp_path / name) == 0
    assert capsys.readouterr().err.count("left out: other files (.md): 1") == 2
    rows = csv.DictReader((tmp_path / "x.csv").read_text("utf-8", "surrogateescape").splitlines())
    with np.load(tmp_path / "x.npz") as scores:
        names = scores["names"].tolist()
    assert [row["name"] for row in rows] == names == ["a.png", os.fsdecode(b"\xff.png")]


def test_a_summary_of_the_data_is_said_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, classes in (("Train", "ab"), ("Test", "bc")):
        for name in classes:
            for i in range(6):
                path = tmp_path / "data" / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((4, 4), 9 * i, np.uint8)).save(path)
    (tmp_path / "data" / "Train" / "readme.md").write_text("")
    out = tmp_path / "run"
    data = ("--data", tmp_path / "data", "--condition", "labels")
    assert vlb("train", "images", *data, "--out", out, *TINY) == 0
    said = " ".join(capsys.readouterr().err.split())
    for words in ("train 11, validation 1, test 12", "3 classes", "without a training example: c", "(.md): 1"):
        assert words in said
    about = Run.open(out).about
    assert about is not None and about.examples_of("c") == 0
    assert json.loads((out / "config.json").read_text())["data"]["about"]["left_out"][0]["count"] == 1
    assert vlb("sample", out, "-n", "2", "--class", "c", "--steps", "2", "-o", tmp_path / "c.npz") == 0
    assert "the class c had no training example" in " ".join(capsys.readouterr().err.split())
    assert vlb("report", out) == 0
    assert "without a training example" in (out / "report.html").read_text()
    assert vlb("evaluate", out, "--split", tmp_path / "data" / "Test") == 0
    (tmp_path / "data" / "Test" / "d").mkdir()
    (tmp_path / "data" / "Test" / "d" / "0.png").symlink_to(tmp_path / "data" / "Test" / "c" / "0.png")
    assert vlb("evaluate", out, "--split", tmp_path / "data" / "Test") == 2
    assert "no class 'd'; the classes are a, b, c" in " ".join(capsys.readouterr().err.split())
