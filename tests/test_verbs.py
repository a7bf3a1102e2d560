"""The verbs as functions: the numbers of the commands, options that are the flags, results that show themselves."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import vlb
from tests.commands.test_cli import TINY
from tests.commands.test_cli import vlb as command
from vlb.base.domains import domains, hints
from vlb.base.results import Result, Strong, Table, as_html, show
from vlb.coding.options import CompressOptions, DecompressOptions, InspectOptions
from vlb.generate.options import ImputeOptions, SampleOptions
from vlb.interfaces.cli import app
from vlb.measure.importance import ImportanceWeighted
from vlb.measure.options import CompareOptions, EvaluateOptions, ScoreOptions, TightnessOptions
from vlb.training.options import TrainOptions

OPTIONS = {
    "train": TrainOptions,
    "evaluate": EvaluateOptions,
    "compare": CompareOptions,
    "score": ScoreOptions,
    "tightness": TightnessOptions,
    "sample": SampleOptions,
    "impute": ImputeOptions,
    "compress": CompressOptions,
    "decompress": DecompressOptions,
    "inspect": InspectOptions,
}
SPELLED = {"label": "class", "overrides": "set", "n": "number"}
BRIEF = ("--set", "steps=2", "--set", "validate_every=2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    ladder = ("--set", "model.widths=[16]", "--set", "costs=[1, 1, 1]")
    made = {
        "plain": ("digits", *TINY),
        "labelled": ("digits", "--condition", "labels", *TINY),
        "vae": ("digits-vae", *BRIEF),
        "mixture": ("digits-mixture", *BRIEF),
        "ladder": ("digits-ladder", *BRIEF, *ladder),
    }
    for name, (recipe, *settings) in made.items():
        assert command("train", recipe, "--out", folder / name, *settings) == 0
    return {name: folder / name for name in made}


def flags(options: Any) -> list[str]:
    """The flags of what differs from the defaults."""
    words = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value == field.default:
            continue
        words.append(f"--{SPELLED.get(field.name, field.name).replace('_', '-')}")
        words += [] if value is True else [str(value)]
    return words


@pytest.mark.parametrize(
    ("run", "options"),
    [
        ("plain", EvaluateOptions()),
        ("plain", EvaluateOptions(passes=2, seed=3, examples=30)),
        ("plain", EvaluateOptions(passes=2, precision=0.5, budget=9)),
        pytest.param(
            *("plain", EvaluateOptions(passes=2, steps=3, kernel="mixture", placement="dp")), marks=pytest.mark.slow
        ),
        ("labelled", EvaluateOptions(passes=2)),
        ("labelled", EvaluateOptions(passes=2, likelihood="importance", steps=2, draws=3, examples=10)),
        ("labelled", EvaluateOptions(passes=2, likelihood="ode", steps=2, examples=3)),
        ("labelled", EvaluateOptions(passes=2, likelihood="ode", tolerance=0.1, examples=3)),
        ("vae", EvaluateOptions(passes=2)),
        ("vae", EvaluateOptions(passes=2, likelihood="importance", draws=3, examples=20)),
        ("mixture", EvaluateOptions()),
        ("ladder", EvaluateOptions()),
    ],
)
def test_evaluate_is_its_command_to_the_bit(
    run: str, options: EvaluateOptions, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, kept = tmp_path / "e.json", tmp_path / "v.npz"
    values = () if run == "ladder" else ("--values", kept)
    assert command("evaluate", runs[run], "--json", out, *values, *flags(options)) == 0
    printed = capsys.readouterr().out
    found = vlb.evaluate(runs[run], options=options)
    expected = json.loads(out.read_text())
    if run != "ladder":
        expected["values"] = None  # nothing is kept unless it was asked for
    assert json.loads(found.to_json()) == expected
    assert str(found) == printed.rstrip("\n")


def test_a_model_is_evaluated_as_its_run_is(runs: dict[str, Path]) -> None:
    run = vlb.Run.open(runs["plain"])
    data = run.data()
    options = EvaluateOptions(passes=2)
    of_run, of_model = vlb.evaluate(run, options=options), vlb.evaluate(run.model(), "test", options, apart=data)
    assert of_model.values() == of_run.values()
    given = vlb.evaluate(run.model(), data.test, options, apart=data)
    assert given.values() == {**of_run.values(), "data": given.values()["data"]}
    weighed = ImportanceWeighted(run.model().at(2), 3)
    few = EvaluateOptions(passes=2, examples=10)
    weighted = EvaluateOptions(passes=2, examples=10, likelihood="importance", steps=2, draws=3)
    own = vlb.evaluate(run, options=weighted)
    assert vlb.evaluate(weighed, "test", few, apart=data).bits_per_dim == own.bits_per_dim
    with pytest.raises(vlb.UserError, match="apart=DATASET"):
        vlb.evaluate(run.model(), data.test)  # type: ignore[call-overload]


def test_other_verbs_are_their_commands(runs: dict[str, Path], tmp_path: Path) -> None:
    compared, tight, scored, drawn = (tmp_path / name for name in ("c.json", "t.json", "s.npz", "x.npz"))
    pair = (runs["plain"], runs["vae"])
    assert command("compare", *pair, "--passes", "2", "--examples", "40", "--json", compared) == 0
    found = vlb.compare(pair, CompareOptions(passes=2, examples=40))
    assert json.loads(found.to_json()) == json.loads(compared.read_text())
    assert command("tightness", runs["vae"], "--draws", "3", "--examples", "9", "--json", tight) == 0
    loose = vlb.tightness(runs["vae"], options=TightnessOptions(draws=3, examples=9))
    assert json.loads(loose.to_json()) == json.loads(tight.read_text())
    assert command("score", runs["plain"], "test", "--passes", "2", "--background", "uniform", "-o", scored) == 0
    scores = vlb.score(runs["plain"], "test", ScoreOptions(passes=2, background="uniform"))
    with np.load(scored) as archive:
        assert all(np.array_equal(archive[name], values) for name, values in scores.columns.items())
        assert json.loads(str(archive["about"])) == scores.about
    assert command("sample", runs["labelled"], "-n", "4", "--steps", "3", "--class", "2", "-o", drawn) == 0
    samples = vlb.sample(runs["labelled"], SampleOptions(n=4, steps=3, label="2"))
    with np.load(drawn) as archive:
        assert np.array_equal(archive["x"], samples.x)
    for result in (found, loose, scores, samples):
        check_shown(result)


class Reader(HTMLParser):
    """Whether every element that is opened is closed, and what is in the cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check_shown(result: Result) -> None:
    """A notebook shows the table, JSON can be read back, and the text is not empty."""
    reader = Reader()
    reader.feed(result._repr_html_())
    assert not reader.open and "script" not in result._repr_html_()
    assert isinstance(json.loads(result.to_json()), dict) and str(result)
    cells = [cell for section in result.table().sections for row in section for cell in row]
    assert all(cell in reader.text for cell in cells) or "<img" in result._repr_html_()


@pytest.mark.parametrize("run", ["plain", "mixture", "ladder"])
def test_an_evaluation_shows_itself(run: str, runs: dict[str, Path]) -> None:
    result = vlb.evaluate(runs[run])
    check_shown(result)
    if run != "ladder":
        assert isinstance(result, vlb.EvaluationResult)
        assert result.exact == (run == "mixture")
        assert set(result.terms) == (
            {("negative_log_likelihood",)} if result.exact else {("reconstruction",), ("prior",), ("diffusion",)}
        )


def test_archives_are_made_read_and_inspected(runs: dict[str, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", vlb.Run.open(runs["mixture"]).data().test.x[:5])
    made = vlb.compress(runs["mixture"], [tmp_path / "x.npy"], tmp_path / "a.vlb")
    restored = vlb.decompress(tmp_path / "a.vlb", tmp_path / "out", run=runs["mixture"])
    looked = vlb.inspect(tmp_path / "a.vlb", InspectOptions(account=True), run=runs["mixture"])
    assert not restored.problems and looked.audit is not None and looked.size == made.summary.bytes_out
    assert np.array_equal(np.load(restored.folder / "x.npy"), np.load(tmp_path / "x.npy"))
    for result in (made, restored, looked):
        check_shown(result)


def test_a_table_is_text_whatever_is_in_it() -> None:
    table = Table("[bold]<b>", ("", "a"), ((("[red]x", Strong("<i>1</i>")),), (("y", "2"),)), notes=("z & z",))
    console = Console(file=StringIO(), width=60)
    show(table, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(part in text for part in ("[bold]<b>", "[red]x", "<i>1</i>", "– z & z."))
    html = as_html(table)
    assert "<b>&lt;i&gt;1&lt;/i&gt;</b>" in html and "[bold]&lt;b&gt;" in html and "z &amp; z." in html
    with pytest.raises(ValueError, match="3 cells"):
        Table("", ("", ""), ((("a", "b", "c"),),))


def entries(options: type) -> dict[str, str]:
    """The entry of each field in the docstring of its class, as one line."""
    body = (options.__doc__ or "").split("----------\n", 1)[1]
    parts = re.split(r"^    (\w+)\n", body, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("verb", OPTIONS)
def test_every_option_is_a_flag_and_says_what_it_is(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=1000, file=StringIO(), color_system=None)
    app([verb, "--help"], console=console, result_action="return_value")
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    described = entries(OPTIONS[verb])
    assert list(described) == [field.name for field in dataclasses.fields(OPTIONS[verb])]
    for name, entry in described.items():
        assert f"--{SPELLED.get(name, name).replace('_', '-')}" in shown
        range_ = "".join(f" [{within}]" for within in domains(hints(OPTIONS[verb])[name]))
        assert entry.replace("`", "") + range_ in shown


def test_everything_public_is_there() -> None:
    assert all(getattr(vlb, name) is not None for name in vlb.__all__)
    verbs = ("evaluate", "sample", "compare", "score", "tightness", "compress", "decompress", "inspect", "report")
    assert all(callable(getattr(vlb, verb)) for verb in (*verbs, "train", "load"))
