"""Models that archives carry come from anywhere: they are weights of what they say, or refused at once."""

import json
from pathlib import Path

import pytest
import torch

import vlb
from vlb.base.errors import UserError
from vlb.coding import api
from vlb.coding.carried import bare, bare_model
from vlb.data import Dataset
from vlb.store.budget import LEAST, NUMBER, Budget
from vlb.store.carried import carried, from_carried
from vlb.store.runs import Run
from vlb.training.recipes import recipe


@pytest.fixture(scope="module")
def mixture_run(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    from vlb.base.configuration import override
    from vlb.training.loop import fit

    experiment = recipe("digits-mixture")
    for assignment in ("steps=2", "training.warmup=1", "components=3", "em_steps=2"):
        experiment = override(experiment, assignment)
    run = Run.create(tmp_path_factory.mktemp("runs") / "mixture", experiment, digits)
    assert fit(experiment, digits, run)
    return run


def test_a_carried_model_is_the_run_s(tiny_run: Run, mixture_run: Run) -> None:
    for run in (tiny_run, mixture_run):
        here, there = bare_model(run), bare(from_carried(carried(run.trained), Path("x.vlb")))
        assert here.digest == there.digest
        state = there.model.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in here.model.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("diffusion", "width", 1 << 16),
        ("diffusion", "blocks", 1000),
        ("mixture", "components", 10**6),
    ],
)
def test_configurations_that_ask_for_too_much_are_refused(
    kind: str, field: str, value: int, tiny_run: Run, mixture_run: Run
) -> None:
    line, _, weights = carried((tiny_run if kind == "diffusion" else mixture_run).trained).partition(b"\n")
    said = json.loads(line)
    place = said["model"]
    (place["backbone"] if kind == "diffusion" else place)[field] = value
    with pytest.raises(UserError, match="not of its model"):
        bare(from_carried(json.dumps(said).encode() + b"\n" + weights, Path("x.vlb")))


def test_steps_of_fitting_are_not_repeated(mixture_run: Run) -> None:
    line, _, weights = carried(mixture_run.trained).partition(b"\n")
    said = json.loads(line)
    said["model"]["em_steps"] = 10**9
    bare(from_carried(json.dumps(said).encode() + b"\n" + weights, Path("x.vlb")))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[1]\nabc",
        b"\xff\xfe\n",
        b'{"data": {}, "experiment": {}}\n',
        b'{"model": {}, "schema": {}}\n',
    ],
)
def test_what_is_no_model_says_so(content: bytes) -> None:
    with pytest.raises(UserError, match=r"x\.vlb"):
        bare(from_carried(content, Path("x.vlb")))


def test_a_budget_counts_what_is_made() -> None:
    with Budget(3 * LEAST, "too much"):
        torch.zeros(2, LEAST // NUMBER)
        torch.empty((1,))
        with pytest.raises(UserError, match="too much"):
            torch.randn(1)


def test_damage_is_refused_before_a_model_is_built(
    mixture_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "note.txt").write_text("a note, as it is")
    vlb.compress(mixture_run, [tmp_path / "note.txt"], tmp_path / "a.vlb", vlb.CompressOptions(embed_model=True))
    content = bytearray((tmp_path / "a.vlb").read_bytes())
    at = content.rindex(b"as it is")
    content[at] ^= 1
    (tmp_path / "a.vlb").write_bytes(content)
    monkeypatch.setattr(api, "bare", lambda *_: pytest.fail("it was built"))
    with pytest.raises(UserError, match=r"chunk \d+ is damaged .* it held note.txt"):
        vlb.decompress(tmp_path / "a.vlb", tmp_path / "out")
