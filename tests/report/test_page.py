"""The page: whole HTML that needs nothing else, and says nothing that it was not told."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.report.reading import read
from vlb.commands.evaluate import measure
from vlb.commands.report import PASSES, gather, run_report
from vlb.data import Dataset
from vlb.errors import UserError
from vlb.experiment import DataConfig
from vlb.report.content import Content
from vlb.report.page import page, verdict
from vlb.report.summary import subset, summarise
from vlb.runs import Run

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def plain(plain_run: Run, digits: Dataset) -> Content:
    return gather(plain_run, digits, CPU)


@pytest.fixture(scope="session")
def labelled(labelled_run: Run, digits: Dataset) -> Content:
    return gather(labelled_run, digits, CPU)


@pytest.fixture(params=["plain", "labelled"])
def content(request: pytest.FixtureRequest) -> Content:
    return request.getfixturevalue(request.param)


def test_the_page_needs_nothing_but_itself(content: Content) -> None:
    html = page(content)
    reader = read(html)
    assert "://" not in html
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.elements}
    for _, attributes in reader.elements:
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
        assert (attributes.get("href") or "#").startswith("#")
    assert "default-src 'none'" in reader.all("meta")[2]["content"]


def test_ids_are_unique_and_every_reference_has_its_target(content: Content) -> None:
    html = page(content)
    ids = [attributes["id"] for _, attributes in read(html).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = re.findall(r'href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html)
    assert references and set(references) <= set(ids)


def test_no_stand_in_colour_is_left(content: Content) -> None:
    assert not re.search(r"#0000[01]\d\b", page(content))


def test_the_numbers_are_those_of_the_evaluation(plain: Content, plain_run: Run, digits: Dataset) -> None:
    evaluation = measure(plain_run.model(digits), digits.test, False, PASSES, 0, CPU)
    summary = summarise(evaluation, digits, "test")
    assert plain.summary == summary
    text = read(page(plain)).text
    assert f"{summary['bits_per_dim']:.4f} ± {summary['standard_error']:.4f}" in text
    for value in (*summary["terms"].values(), *summary["baselines"].values()):
        assert f"{value:.4f}" in text
    for words in ("360 test examples", "17 levels", "64 dimensions", "4 passes", "bits/dim"):
        assert words in text


def test_a_conditional_model_is_classified_by_and_shown_by_class(labelled: Content) -> None:
    accuracy, gallery = labelled.accuracy, labelled.gallery
    assert accuracy is not None and accuracy.examples == 300 and 0 <= accuracy.right <= 300
    assert gallery is not None and gallery.classes == tuple(range(10))
    text = read(page(labelled)).text
    assert f"{accuracy.right} of 300" in text
    assert "A row per class" in text and "p(x | y)" in text


def test_the_plain_model_has_no_classification(plain: Content) -> None:
    assert plain.accuracy is None
    assert "Bayes" not in read(page(plain)).text


def test_the_area_under_the_noise_levels_is_the_diffusion_term(plain: Content) -> None:
    profile = plain.profile
    area = profile.bits.sum() * (profile.log_snr[1] - profile.log_snr[0])
    assert area == pytest.approx(plain.summary["terms"]["diffusion"], rel=0.1)


def test_hostile_text_is_only_text(plain: Content) -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"
    experiment = dataclasses.replace(plain.experiment, recipe=evil, data=DataConfig(name=evil, path=evil))
    summary = {**plain.summary, "data": {"name": evil, "fingerprint": evil}, "split": "test"}
    hostile = dataclasses.replace(
        plain, name=evil, summary=summary, experiment=experiment, changed=None, versions={evil: evil}, commands=(evil,)
    )
    benign, reader = read(page(plain)), read(page(hostile))
    assert reader.text.count(evil) >= 8
    assert not reader.all("script")
    assert len(reader.all("img")) == len(benign.all("img"))


def test_shapes_that_are_no_images_are_told_not_drawn(plain: Content) -> None:
    for shape in ((64,), (2, 8, 4)):
        reader = read(page(dataclasses.replace(plain, shape=shape, gallery=None)))
        assert "Pictures are left out" in reader.text
        assert not reader.all("img")


def test_missing_metrics_are_told(plain_run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(plain_run.path, copy)
    (copy / "metrics.jsonl").unlink()
    (copy / "report.html").write_text("an older report")
    run_report(copy, None, "cpu")
    text = read((copy / "report.html").read_text()).text
    assert "metrics.jsonl is missing or empty" in text
    assert not [path for path in copy.iterdir() if path.suffix == ".part"]


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run"):
        run_report(tmp_path, None, "cpu")
    assert not list(tmp_path.iterdir())


def test_only_the_fields_that_differ_from_the_recipe_are_marked(plain: Content) -> None:
    html = page(plain)
    marked = re.findall(r'<tr class="changed"><th scope="row">([^<]*)', html)
    assert set(marked) == {
        "steps", "validate_every", "log_every", "validation_examples", "batch", "backbone", "backbone.width",
        "backbone.blocks", "backbone.dropout",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bits", "error", "kind"), [(2.0, 0.1, "better"), (3.0, 0.1, "worse"), (2.4, 0.1, "even"), (2.0, np.nan, "even")]
)
def test_the_verdict_is_honest(bits: float, error: float, kind: str) -> None:
    summary = {
        "bits_per_dim": bits,
        "standard_error": error,
        "dimensions": 64,
        "conditional": False,
        "baselines": {"independent_pixels": 2.5},
    }
    assert verdict(summary)[0] == kind


def test_a_subset_is_in_order_without_repetition(digits: Dataset) -> None:
    part = subset(digits.train, 100)
    whole = [row.tobytes() for row in digits.train.x]
    places = [whole.index(row.tobytes()) for row in part.x]
    assert len(part) == 100 and places == sorted(set(places))
    assert subset(digits.train, 10**6) is digits.train


def test_baselines_are_of_the_evaluated_examples(plain_run: Run, digits: Dataset) -> None:
    part = subset(digits.test, 50)
    evaluation = measure(plain_run.model(digits), part, False, 2, 0, CPU)
    summary = summarise(evaluation, digits, "test", part)
    whole = summarise(evaluation, digits, "test")
    assert (summary["examples"], summary["split_examples"]) == (50, 360)
    assert summary["baselines"]["independent_pixels"] != whole["baselines"]["independent_pixels"]
    assert summary["data"] == whole["data"]
