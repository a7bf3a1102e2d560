"""A command says that it is at work before anything heavy is imported, and before anything is read."""

import subprocess
import sys
from pathlib import Path

import pytest

import vlb
from tests.commands.test_cli import TINY
from tests.commands.test_cli import vlb as command
from tests.told import Bars
from vlb.measure.options import EvaluateOptions

ASKED = """
import sys
from vlb.interfaces.cli import main

class Heavy:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "sklearn", "matplotlib", "pandas", "pyarrow"):
            print("HEAVY", name, file=sys.stderr)
            sys.exit(3)

sys.meta_path.insert(0, Heavy())
for line in sys.stdin:
    print("COMMAND", line.strip(), file=sys.stderr)
    try:
        main(line.split())
    except SystemExit:
        print("END", file=sys.stderr)
"""


def test_every_command_prints_before_it_imports_what_is_heavy(tmp_path: Path) -> None:
    lines = (
        f"train digits --out {tmp_path}/r",
        "evaluate r",
        "compare r uniform",
        f"score r test -o {tmp_path}/s.csv",
        "tightness r",
        f"sample r -o {tmp_path}/s.npz",
        f"impute r t.csv -o {tmp_path}/f.csv",
        "report r",
        f"compress r x.npy -o {tmp_path}/a.vlb",
        f"decompress a.vlb -o {tmp_path}/b",
        "inspect a.vlb",
    )
    ran = subprocess.run([sys.executable, "-c", ASKED], input="\n".join(lines), capture_output=True, text=True)
    told = [part.partition("END")[0].splitlines() for part in ran.stderr.split("COMMAND ")[1:]]
    assert len(told) == len(lines)
    for (name, *said), line in zip(told, lines, strict=True):
        assert name == line and any(word.startswith("HEAVY") for word in said), ran.stderr
        assert said[0] == "starting …", ran.stderr


@pytest.mark.parametrize("verb", ["evaluate", "tightness", "report", "sample"])
def test_a_verb_says_what_it_does_before_it_opens_the_run(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Bars()
    monkeypatch.setattr(vlb.Run, "open", lambda path: pytest.fail("silent") if not heard.bars else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        getattr(vlb, verb)(tmp_path, progress=heard)


def test_placing_rungs_has_a_bar_before_it_is_evaluated(tmp_path: Path) -> None:
    assert command("train", "digits", "--out", tmp_path / "run", *TINY) == 0
    heard = Bars()
    vlb.evaluate(tmp_path / "run", options=EvaluateOptions(steps=2, passes=2, placement="dp"), progress=heard)
    placing, evaluating = (
        next(bar for bar in heard.bars if bar.what.startswith(word)) for word in ("placing", "evaluating")
    )
    assert placing.total == placing.done[-1] and heard.bars.index(placing) < heard.bars.index(evaluating)
