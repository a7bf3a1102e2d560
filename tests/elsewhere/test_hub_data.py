"""Data sets of the Hub, by a package that stands for datasets, and by datasets itself where it is installed."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

import vlb
from vlb.base.errors import UserError
from vlb.base.progress import Silent
from vlb.data import load
from vlb.data.hub import hub_pictures
from vlb.store.runs import Run


class Picture:
    def __init__(self, decode: bool = True) -> None: ...


class ClassLabel:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class Rows:
    """What is used of a `datasets.Dataset`."""

    def __init__(self, features: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        self.features, self.rows = features, rows

    def __iter__(self) -> Any:
        return iter(self.rows)

    def select_columns(self, columns: list[str]) -> "Rows":
        return Rows(self.features, [{name: row[name] for name in columns} for row in self.rows])

    def cast_column(self, column: str, kind: Any) -> "Rows":
        return self

    def to_parquet(self, file: str) -> None:
        parquet.write_table(pa.Table.from_pylist(self.rows), file)


VALUES = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)


def png(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "png")
    return stream.getvalue()


def rows(numbers: range, **features: Any) -> Rows:
    return Rows(
        {"image": Picture(), "label": ClassLabel(["cat", "a/b"]), "id": None, **features},
        [
            {
                "image": {"bytes": png(VALUES[n]), "path": None},
                "label": n % 2,
                "id": n,
                "mask": {"bytes": png(VALUES[n])},
            }
            for n in numbers
        ],
    )


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Data sets by name, and how often one was fetched."""
    monkeypatch.setenv("VLB_DATA", str(tmp_path / "cache"))
    there: dict[str, Any] = {"fetched": 0, "size": None}

    def get_dataset_config_names(name: str, revision: str | None) -> list[str]:
        of = [known for known in there if known == name or known.startswith(f"{name}/")]
        if not of:
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub\nor cannot be accessed")
        return [known.removeprefix(name).lstrip("/") or "default" for known in of]

    def load_dataset_builder(name: str, subset: str | None, revision: str | None) -> Any:
        def prepare() -> None:
            there["fetched"] += 1

        return SimpleNamespace(
            info=SimpleNamespace(download_size=there["size"], dataset_size=None),
            cache_dir=str(tmp_path / "not" / "yet"),
            download_and_prepare=prepare,
            as_dataset=lambda: there[name if subset is None else f"{name}/{subset}"],
        )

    package = SimpleNamespace(
        Image=Picture,
        ClassLabel=ClassLabel,
        get_dataset_config_names=get_dataset_config_names,
        load_dataset_builder=load_dataset_builder,
    )
    monkeypatch.setitem(sys.modules, "datasets", package)
    return there


def test_pictures_keep_bytes_classes_and_splits(hub: dict[str, Any]) -> None:
    hub["me/pets"] = {"train": rows(range(30)), "test": rows(range(30, 40))}
    data = load("images", Path("hf:me/pets"))
    assert data.schema.labels == ("a-b", "cat") and len(data.test) == 10 and len(data.train) == 27
    found = {
        x.tobytes(): label
        for split in (data.train, data.validation, data.test)
        for x, label in zip(split.x, split.labels, strict=True)
    }
    assert found == {VALUES[n].tobytes(): 1 - n % 2 for n in range(40)}
    again = load("images", Path("hf:me/pets"))
    assert again.fingerprint == data.fingerprint and hub["fetched"] == 1


def test_a_run_knows_its_data_by_name(hub: dict[str, Any], tmp_path: Path) -> None:
    hub["me/pets"] = {"train": rows(range(40))}
    options = vlb.TrainOptions(
        overrides=("model.backbone=mlp", "backbone.width=4", "backbone.blocks=1", "steps=2", "validation_examples=4")
    )
    run = vlb.train("images", options, data=Path("hf:me/pets"), out=tmp_path / "run").run
    assert run.experiment.data.path == "hf:me/pets" and Run.open(run.path).data().fingerprint
    public = vlb.save_pretrained(run, tmp_path / "public")
    assert Run.open(public.where).experiment.data.path == "hf:me/pets"


def test_a_table_is_that_of_its_rows(hub: dict[str, Any]) -> None:
    table = [{"length": n / 10, "kind": "long" if n > 20 else "short"} for n in range(40)]
    hub["me/table"] = {"train": Rows({}, table), "test": Rows({}, table[:3])}
    data = load("mixed-table", Path("hf:me/table"))
    assert sum(map(len, (data.train, data.validation, data.test))) == 40
    assert [column.name for column in data.schema.columns or ()] == ["length", "kind"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:me/nothing", "'me/nothing' cannot be had from the Hub: Dataset 'me/nothing' doesn't exist"),
        ("hf:me/texts", "columns of pictures: none of text"),
        ("hf:me/two", "there are image, mask: say which, hf:owner/name:COLUMN"),
        ("hf:me/two:text", "columns of pictures: image, mask; 'text' is not one"),
        ("hf:me/odd", "has the splits train, extra: of several, train, validation and test are read"),
        ("hf:me/sounds", "picture 0 of train is of no format that is read"),
        ("hf:", "is called hf:owner/name"),
    ],
)
def test_what_cannot_be_had_is_said(name: str, message: str, hub: dict[str, Any], tmp_path: Path) -> None:
    hub["me/texts"] = {"train": Rows({"text": None}, [{"text": "a"}])}
    hub["me/two"] = {"train": rows(range(3), mask=Picture())}
    hub["me/odd"] = {"train": rows(range(3)), "extra": rows(range(3))}
    hub["me/sounds"] = {"train": Rows({"image": Picture()}, [{"image": {"bytes": b"....", "path": None}}])}
    with pytest.raises(UserError, match=message):
        load("images", Path(name))
    assert not list((tmp_path / "cache").rglob("*.png"))


def test_a_named_column_is_read_and_other_data_are_not(hub: dict[str, Any]) -> None:
    hub["me/two"] = {"train": rows(range(12), mask=Picture())}
    assert load("images", Path("hf:me/two:mask")).shape == (1, 8, 8)
    with pytest.raises(UserError, match="pictures and tables come from the Hub"):
        load("volumes", Path("hf:me/two"))


class Begun(Silent):
    """What was begun."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self, what: str, total: int | None = None) -> None:
        self.said.append(what)


def test_of_several_subsets_one_is_named(hub: dict[str, Any]) -> None:
    hub["me/pets/small"], hub["me/pets/large"] = {"train": rows(range(12))}, {"train": rows(range(30))}
    assert len(load("images", Path("hf:me/pets/large")).train) > len(load("images", Path("hf:me/pets/small")).train)
    for name in ("hf:me/pets", "hf:me/pets/huge"):
        with pytest.raises(UserError, match="has the subsets small, large: say which, hf:me/pets/SUBSET"):
            load("images", Path(name))


def test_what_is_larger_than_the_disk_is_not_fetched(hub: dict[str, Any]) -> None:
    hub["me/pets"] = {"train": rows(range(40))}
    hub["size"] = 10**18
    with pytest.raises(UserError, match=r"me/pets takes 1,000,000,000.0 GB .* set HF_HOME"):
        load("images", Path("hf:me/pets"))
    hub["size"] = 12_345_678
    progress = Begun()
    hub_pictures(Path("hf:me/pets"), progress)
    assert "fetching me/pets, 12.3 MB" in progress.said and hub["fetched"] == 1


def test_without_the_package_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLB_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"need the package datasets: pip install 'vlb\[datasets\]'"):
        load("images", Path("hf:me/pets"))


def local(datasets: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder stand for a repository."""
    names, builder = datasets.get_dataset_config_names, datasets.load_dataset_builder
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name, revision: names(str(folder)))
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name, subset, revision: builder(str(folder), subset))


@pytest.mark.slow
def test_datasets_itself_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLB_DATA", str(tmp_path))
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    content = {"image": [{"bytes": png(v), "path": None} for v in VALUES], "label": [n % 2 for n in range(40)]}
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict(content, features)})
    (tmp_path / "local").mkdir()
    made["train"].to_parquet(tmp_path / "local" / "train.parquet")
    with monkeypatch.context() as patched:
        local(datasets, tmp_path / "local", patched)
        data = load("images", Path("hf:me/pets"))
    assert data.schema.labels == ("cat", "dog")
    assert {x.tobytes() for part in (data.train, data.validation, data.test) for x in part.x} == {
        v.tobytes() for v in VALUES
    }
    rows = datasets.Dataset.from_dict({"a": [n / 10 for n in range(40)], "b": ["x", "y"] * 20})
    (tmp_path / "table").mkdir()
    rows.to_parquet(tmp_path / "table" / "train.parquet")
    with monkeypatch.context() as patched:
        local(datasets, tmp_path / "table", patched)
        found = load("mixed-table", Path("hf:me/table"))
    assert found.shape == (2,)
