"""The page: whole HTML that needs nothing else, and says nothing that it was not told."""

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.commands.test_cli import vlb
from tests.report.conftest import PREDECESSORS
from tests.report.reading import read
from vlb.base.errors import UserError
from vlb.data import Dataset
from vlb.data.baselines import baselines
from vlb.measure.evaluate import evaluate
from vlb.measure.evaluation import measure_bound
from vlb.measure.options import EvaluateOptions
from vlb.measure.summary import EvaluationResult, summarise
from vlb.models.diffusion.stratified import StratifiedBound
from vlb.pages.content import About, Content, content_of
from vlb.pages.kinds.diffusion import DiffusionContent
from vlb.pages.kinds.hierarchy import DESCENTS, HierarchyContent, decided
from vlb.pages.kinds.ladder import LadderContent
from vlb.pages.kinds.mixture import MixtureContent
from vlb.pages.page import verdict
from vlb.pages.report import report
from vlb.store.experiment import DataSource
from vlb.store.runs import Run

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def plain(plain_run: Run, digits: Dataset) -> DiffusionContent:
    content = content_of(plain_run.model(), plain_run, digits, CPU)
    assert isinstance(content, DiffusionContent)
    return content


@pytest.fixture(scope="session")
def labelled(labelled_run: Run, digits: Dataset) -> DiffusionContent:
    content = content_of(labelled_run.model(), labelled_run, digits, CPU)
    assert isinstance(content, DiffusionContent)
    return content


@pytest.fixture(scope="session")
def others(predecessors: dict[str, Run], digits: Dataset) -> dict[str, Content]:
    return {name: content_of(run.model(), run, digits, CPU) for name, run in predecessors.items()}


@pytest.fixture(params=["plain", "labelled", *PREDECESSORS])
def content(request: pytest.FixtureRequest) -> Content:
    if request.param in PREDECESSORS:
        return request.getfixturevalue("others")[request.param]
    return request.getfixturevalue(request.param)


def about_of(content: Content) -> About:
    return content.about if isinstance(content, LadderContent) else content.measured.about


def with_about(content: Content, about: About, **found: str) -> Content:
    if isinstance(content, LadderContent):
        return dataclasses.replace(content, about=about)
    result = dataclasses.replace(content.measured.result, **found)  # type: ignore[arg-type]
    return dataclasses.replace(content, measured=dataclasses.replace(content.measured, about=about, result=result))


def test_the_page_needs_nothing_but_itself(content: Content) -> None:
    html = content.page()
    reader = read(html)
    assert "://" not in html
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.elements}
    for _, attributes in reader.elements:
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
        assert (attributes.get("href") or "#").startswith("#")
    assert "default-src 'none'" in reader.all("meta")[2]["content"]


def test_ids_are_unique_and_every_reference_has_its_target(content: Content) -> None:
    html = content.page()
    ids = [attributes["id"] for _, attributes in read(html).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = re.findall(r'href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html)
    assert references and set(references) <= set(ids)


def test_no_stand_in_colour_is_left(content: Content) -> None:
    assert not re.search(r"#0000[01]\d\b", content.page())


def test_the_numbers_are_those_of_the_command_that_the_page_names(plain: DiffusionContent, tmp_path: Path) -> None:
    result, out = plain.measured.result, tmp_path / "e.json"
    program, *words = shlex.split(plain.measured.about.commands[1])
    assert program == "vlb" and vlb(*words, "--json", out, "--values", tmp_path / "v.npz") == 0
    found = json.loads(out.read_text())
    how = ("values", "estimator")  # those of a command, which keeps its values
    assert {name: found[name] for name in found if name not in how} == {
        name: value for name, value in result.values().items() if name not in how
    }
    text = read(plain.page()).text
    assert f"{result.bits_per_dim:.4f} ± {result.standard_error:.4f}" in text
    for value in (*result.terms.values(), *result.baselines.values()):
        assert f"{value:.4f}" in text
    for words in (
        "360 test examples",
        "17 levels",
        "64 dimensions",
        "3 passes",
        "bits/dim",
    ):
        assert words in text
    assert f"{result.nats_per_example:.2f} ± " in text and "nats per example" in text


def test_what_is_kept_is_not_evaluated_anew(
    plain_run: Run, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(shutil.copytree(plain_run.path, tmp_path / "run"))
    kept = evaluate(run, options=EvaluateOptions(passes=4), keep=True)
    monkeypatch.setattr(StratifiedBound, "terms", lambda *_: pytest.fail("evaluated anew"))
    found = content_of(run.model(), run, digits, CPU).found
    assert isinstance(found, EvaluationResult) and isinstance(kept, EvaluationResult)
    assert (found.passes, found.bits_per_dim) == (4, kept.bits_per_dim)


def test_a_conditional_model_is_classified_by_and_shown_by_class(labelled: DiffusionContent) -> None:
    accuracy, gallery = labelled.accuracy, labelled.measured.gallery
    assert accuracy is not None and accuracy.examples == 300 and 0 <= accuracy.right <= 300
    assert gallery is not None and gallery.classes == tuple("0123456789")
    text = read(labelled.page()).text
    assert f"{accuracy.right} of 300" in text
    assert "A row per class" in text and "p(x | y)" in text


def test_the_plain_model_has_no_classification(plain: DiffusionContent) -> None:
    assert plain.accuracy is None
    assert "Bayes" not in read(plain.page()).text


def test_the_area_under_the_noise_levels_is_the_diffusion_term(plain: DiffusionContent) -> None:
    profile = plain.profile
    area = profile.bits.sum() * (profile.log_snr[1] - profile.log_snr[0])
    assert area == pytest.approx(plain.measured.result.terms[("diffusion",)], rel=0.1)


def test_hostile_text_is_only_text(content: Content) -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"
    about = about_of(content)
    experiment = dataclasses.replace(about.experiment, recipe=evil, data=DataSource(name=evil, path=evil))
    worse = dataclasses.replace(
        about, name=evil, data={"name": evil, "fingerprint": evil}, experiment=experiment, changed=None,
        versions={evil: evil}, commands=(evil,),
    )  # fmt: skip
    benign = read(content.page())
    reader = read(with_about(content, worse, data=evil, fingerprint=evil, split="test").page())
    assert reader.text.count(evil) >= 8
    assert not reader.all("script")
    assert len(reader.all("img")) == len(benign.all("img"))


def test_shapes_that_are_no_images_are_told_not_drawn(plain: DiffusionContent, others: dict[str, Content]) -> None:
    for shape in ((64,), (2, 8, 4)):
        bare = dataclasses.replace(
            plain.measured, about=dataclasses.replace(plain.measured.about, shape=shape), gallery=None
        )
        vae, mixture = others["digits-vae"], others["digits-mixture"]
        pages = (
            dataclasses.replace(plain, measured=bare, film=None),
            dataclasses.replace(vae, measured=bare, decided=None),
            dataclasses.replace(mixture, measured=bare, means=None),
            with_about(others["digits-ladder"], bare.about),
        )
        for content in pages:
            reader = read(content.page())
            assert "Pictures are left out" in reader.text
            assert not reader.all("img")


def test_every_kind_of_model_has_its_own_words(others: dict[str, Content]) -> None:
    text = {name: read(content.page()).text for name, content in others.items()}
    assert "mixture of 3 product-categoricals" in text["digits-mixture"] and "not a bound" in text["digits-mixture"]
    assert "a variational autoencoder of" in text["digits-vae"]
    assert "3 rungs inferred bottom-up" in text["digits-hvae-bottom-up"]
    assert "3 rungs inferred top-down" in text["digits-hvae-top-down"]
    assert "no likelihood" in text["digits-ladder"] and "bits/dim" not in text["digits-ladder"]
    for page in text.values():
        assert "log SNR" not in page and "noisiest" not in page


def test_a_hierarchys_rungs_add_up(others: dict[str, Content]) -> None:
    """The KLs shown per rung are those of the bound: another 200 examples and draws, the same within 10 %."""
    for name in ("digits-vae", "digits-hvae-top-down"):
        content = others[name]
        assert isinstance(content, HierarchyContent)
        terms = content.measured.result.terms
        assert len(content.uses) == len(terms) - 1 == len(content.measured.result.values()["kl_per_rung"])
        nats = 64 * np.log(2) * sum(value for term, value in terms.items() if term[0] == "kl")
        assert sum(use.kl for use in content.uses) == pytest.approx(nats, rel=0.1, abs=0.05)
        html = content.page()
        assert all(f"{value:.4f}" in html for value in terms.values())
        assert "KL of rung 1" in html


def test_what_latents_decide_starts_with_the_reconstruction(predecessors: dict[str, Run], digits: Dataset) -> None:
    """Row i is E[x | z_i, …] under q above and p below: for both directions, and the last row is not the first."""
    for name in ("digits-hvae-bottom-up", "digits-hvae-top-down"):
        model = predecessors[name].model()
        found = decided(model, digits.test.x[:3], 17)
        assert found.means.shape == (3, 3, 1, 8, 8) and np.array_equal(found.data, digits.test.x[:3])
        # A rung more that p draws: the means over descents differ by what that rung decides, and by noise.
        assert not np.array_equal(found.means[0], found.means[2])
        marginal = digits.train.x.mean(0) * 255 / 16
        assert np.abs(found.means.mean((0, 1)) - marginal).max() < 255 * 5 / DESCENTS**0.5


def test_a_mixtures_components_are_shown_by_weight(others: dict[str, Content]) -> None:
    content = others["digits-mixture"]
    assert isinstance(content, MixtureContent) and content.means is not None
    assert content.weights.sum() == pytest.approx(1) and (np.diff(content.weights) <= 0).all()
    assert content.means.shape == (3, 1, 8, 8)


def test_a_ladder_reports_errors_and_costs_and_shows_its_labels(others: dict[str, Content]) -> None:
    content = others["digits-ladder"]
    assert isinstance(content, LadderContent)
    text = read(content.page()).text
    assert f"{content.recognition.error_rate:.2%} ± {content.recognition.standard_error:.2%}" in text
    assert all(f"{cost:.3f}" in content.page() for cost in content.recognition.cost_per_layer)
    assert len(content.labelled) == 100 and "100 labels" in text
    history = content.about.history
    assert [step for step, _ in history.train] == [2, 4, 6] == [step for step, _ in history.validation]
    assert all(0 <= value <= 1 for _, value in history.validation)


def test_missing_metrics_are_told(plain_run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(plain_run.path, copy)
    (copy / "metrics.jsonl").unlink()
    (copy / "report.html").write_text("an older report")
    report(copy)
    text = read((copy / "report.html").read_text()).text
    assert "metrics.jsonl is missing or empty" in text
    assert not [path for path in copy.iterdir() if path.suffix == ".part"]


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run"):
        report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_the_fields_that_differ_from_the_recipe_are_marked(plain: DiffusionContent) -> None:
    html = plain.page()
    marked = re.findall(r'<tr class="changed"><th scope="row">([^<]*)', html)
    assert set(marked) == {
        "steps", "validate_every", "log_every", "validation_examples", "batch", "backbone", "backbone.width",
        "backbone.blocks", "backbone.dropout",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("gain", "error", "kind"), [(0.5, 0.1, "better"), (-0.5, 0.1, "worse"), (0.1, 0.1, "even"), (0.5, np.nan, "even")]
)
def test_the_verdict_is_honest(gain: float, error: float, kind: str) -> None:
    told = {"gain": gain, "gain_error": error, "dimensions": 64, "elements": "columns", "conditional": False}
    result = SimpleNamespace(**told, baselines={"independent_pixels": 2.5})
    found, sentence = verdict(result)  # type: ignore[arg-type]
    assert found == kind and "independent columns" in sentence


def test_the_gain_is_over_the_same_examples(plain_run: Run, digits: Dataset) -> None:
    part = digits.test.subset(50)
    evaluation = measure_bound(plain_run.model(), part, passes=2)
    result = summarise(evaluation, digits, "test", part)
    base = result.baselines["independent_pixels"]
    assert result.gain == pytest.approx(base - result.bits_per_dim)


def test_a_subset_is_in_order_without_repetition(digits: Dataset) -> None:
    part = digits.train.subset(100)
    whole = [row.tobytes() for row in digits.train.x]
    places = [whole.index(row.tobytes()) for row in part.x]
    assert len(part) == 100 and places == sorted(set(places))
    assert digits.train.subset(10**6) is digits.train


def test_baselines_are_of_the_evaluated_examples(plain_run: Run, digits: Dataset) -> None:
    part = digits.test.subset(50)
    evaluation = measure_bound(plain_run.model(), part, passes=2)
    result = summarise(evaluation, digits, "test", part)
    assert (result.examples, result.split_examples) == (50, 360)
    assert result.baselines["independent_pixels"] != baselines(digits, "test")["independent_pixels"]
    assert result.fingerprint == digits.fingerprint
