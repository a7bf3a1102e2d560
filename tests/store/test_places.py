"""Runs by name: those that come with vlb, and published ones."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import vlb
from vlb.base.errors import UserError
from vlb.store import places
from vlb.store.places import CARD, FOLDER, PARTS, SHIPPED
from vlb.store.runs import Run


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLB_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", SHIPPED)
def test_what_comes_with_vlb_is_what_its_card_says(name: str) -> None:
    run = Run.open(f"vlb:{name}")
    card = (run.path / CARD).read_text()
    assert f"`{run.fingerprint}`" in card and f"# vlb:{name}" in card
    assert run.data().fingerprint == run.content["data"]["fingerprint"]
    kept = FOLDER / name
    assert {str(file.relative_to(kept)) for file in kept.rglob("*") if file.is_file()} <= set(PARTS)
    assert (
        vlb.sample(run, vlb.SampleOptions(n=2, steps=2) if name == "digits" else vlb.SampleOptions(n=2)).x.shape[0] == 2
    )


def test_the_package_itself_is_never_written_to(cache: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in FOLDER.rglob("*")}
    first = Run.open("vlb:iris").path
    vlb.report("vlb:iris")
    assert cache in first.parents and (first / "report.html").is_file()
    assert Run.open("vlb:iris").path == first  # what verbs keep beside it stays
    assert {file: file.stat().st_mtime_ns for file in FOLDER.rglob("*")} == before


def test_a_folder_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FOLDER / "iris", "vlb:digits")
    assert Run.open("vlb:digits").path == Path("vlb:digits")


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(UserError, match=r"no run called 'irs' comes with vlb.*iris"):
        Run.open("vlb:irs")


@pytest.fixture
def own(tmp_path: Path) -> Run:
    """A run on a person's own table, in a folder whose name is nobody's business."""
    folder = tmp_path / "private-name"
    folder.mkdir()
    rows = ["a,b", *(f"{i % 7},{'yes' if i % 3 else 'no'}" for i in range(60))]
    (folder / "own.csv").write_text("\n".join(rows) + "\n")
    return vlb.train("table", data=folder / "own.csv", out=tmp_path / "run").run


def test_a_published_run_is_a_run_with_the_same_numbers(own: Run, tmp_path: Path) -> None:
    done = vlb.save_pretrained(own, tmp_path / "public", licence="cc0-1.0")
    public = Run.open(tmp_path / "public")
    assert public.fingerprint == own.fingerprint
    assert (vlb.sample(public).x == vlb.sample(own).x).all()
    written = b"".join(file.read_bytes() for file in public.path.rglob("*") if file.is_file())
    assert b"private-name" not in written
    card = (public.path / CARD).read_text()
    front = card.split("---")[1].strip().splitlines()
    entries = {line.partition(": ")[0]: json.loads(line.partition(": ")[2]) for line in front}
    metric = entries["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert entries["license"] == "cc0-1.0" and metric == pytest.approx(done.values()["bits_per_dim"], abs=1e-6)
    with pytest.raises(UserError, match="exists already"):
        vlb.save_pretrained(own, tmp_path / "public")


def test_a_run_goes_over_the_hub_and_comes_back(own: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With folders in place of the Hub: what is sent is what another finds by its name, and nothing more."""
    hub = tmp_path / "hub" / "commit1"
    asked: dict[str, Any] = {}

    class Client:
        def __init__(self, token: str | None = None) -> None:
            asked["token"] = token

        def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
            asked["private"] = private

        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
            shutil.copytree(folder_path, hub)

    def snapshot(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        if name != "me/mine":
            raise ValueError("there is no such repository")
        asked["patterns"] = allow_patterns
        return str(hub)

    errors = SimpleNamespace(HfHubHTTPError=OSError, HFValidationError=ValueError)
    fake = SimpleNamespace(HfApi=Client, snapshot_download=snapshot, errors=errors)
    monkeypatch.setattr(places, "require_hub", lambda: fake)
    monkeypatch.setattr("vlb.pages.publish.require_hub", lambda: fake)

    assert vlb.push_to_hub(own, "me/mine", private=True).where == "hf:me/mine"
    assert asked["private"] and "vlb sample hf:me/mine" in (hub / CARD).read_text()
    (hub / "surplus.bin").write_bytes(b"not of a run")
    assert vlb.from_pretrained("me/mine").shape == own.schema.shape
    run = Run.open("hf:me/mine")
    assert run.fingerprint == own.fingerprint and not (run.path / "surplus.bin").exists()
    with pytest.raises(UserError, match=r"'me/other' cannot be had from the Hub: there is no such repository"):
        Run.open("hf:me/other")


def test_a_notebook_shows_what_a_run_is_without_trusting_it(tmp_path: Path) -> None:
    shown = Run.open("vlb:digits")._repr_html_()
    assert "diffusion" in shown and "1 × 8 × 8 (channels, height, width)" in shown and "17 levels" in shown
    assert "vlb evaluate" in shown and "0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in shown and "is told" not in shown
    own = tmp_path / "<b>run"
    shutil.copytree(FOLDER / "iris", own)
    content = json.loads((own / "config.json").read_text())
    content["data"]["name"] = "<script>alert(1)</script>"
    content["experiment"]["recipe"] = {"<img>": 1}
    (own / "config.json").write_text(json.dumps(content))
    found = Run.open(own)._repr_html_()
    assert "&lt;script&gt;" in found and not {"<script", "<b>run", "<img"} & {
        tag for tag in ("<script", "<b>run", "<img") if tag in found
    }
