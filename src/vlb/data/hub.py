"""Data sets of the Hugging Face Hub by name, `hf:owner/name` or `hf:owner/name/subset`, by the package datasets: kept
in the cache as the files that a person might have brought, and read as these are.

Only data are taken: datasets runs no code of a repository, and what it has decoded from a picture is not used, but the
bytes of its file.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vlb.base.errors import UserError
from vlb.base.files import made_new
from vlb.base.progress import Progress
from vlb.data.arrays import SPLIT_NAMES
from vlb.data.cache import cache_folder

PREFIX = "hf:"
MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"BM": ".bmp", b"GIF8": ".gif", b"RIFF": ".webp", b"II*": ".tif"}


class Named(NamedTuple):
    """hf:OWNER/NAME or hf:OWNER/NAME/SUBSET, either with @REVISION, then with :COLUMN."""

    repository: str
    subset: str | None
    revision: str | None
    column: str | None

    @property
    def folder(self) -> str:
        """What it is called in the cache."""
        parts = (self.repository, self.subset, self.revision, self.column)
        return "-".join(part.replace("/", "--") for part in parts if part)


def on_hub(path: Path | None) -> bool:
    """Whether what is said in place of a path is a name on the Hub."""
    return path is not None and str(path).startswith(PREFIX) and not path.exists()


def absolute(path: Path) -> str:
    """A path from the root; a name on the Hub as it is."""
    return str(path) if on_hub(path) else str(path.absolute())


def hub_pictures(path: Path, progress: Progress) -> Path:
    """A folder of the cache with the pictures of a data set: a folder per split, in each one per class where the data
    set has classes. Raises `UserError` where they cannot be had, or where there is no one column of pictures."""
    return _kept(path, progress, _write_pictures, "pictures")


def hub_table(path: Path, progress: Progress) -> Path:
    """A .parquet file in the cache with the rows of a data set's split `train`, or of its only one. Raises `UserError`
    where they cannot be had."""
    folder = _kept(path, progress, _write_table, "table")
    (file,) = folder.glob("*.parquet")
    return file


def _kept(path: Path, progress: Progress, write: Callable[[Any, Named, Path], None], what: str) -> Path:
    """What was written of it once, or is now."""
    name = _named(path)
    target = cache_folder() / "hub" / what / name.folder
    if target.is_dir():
        return target
    found = _fetched(name, progress)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot keep data in {target.parent}: {error.strerror or error}; set VLB_DATA to a folder you can write"
        ) from error
    with made_new(target) as folder:
        write(found, name, folder)
    return target


def _named(path: Path) -> Named:
    rest, _, column = str(path).removeprefix(PREFIX).partition(":")
    place, _, revision = rest.partition("@")
    owner, *rest_of_it = place.split("/", 2)
    repository, subset = "/".join([owner, *rest_of_it[:1]]), "".join(rest_of_it[1:])
    if not owner or not all(rest_of_it):
        raise UserError(
            f"{path}: a data set on the Hub is called hf:owner/name, one of its subsets hf:owner/name/subset, and one "
            "of several columns of pictures hf:owner/name:COLUMN"
        )
    return Named(repository, subset or None, revision or None, column or None)


def _fetched(name: Named, progress: Progress) -> Mapping[str, Any]:
    """The splits of a data set. Raises `UserError` where it is not to be had, or has no place on the disk."""
    datasets = _require_datasets()
    progress.begin(f"asking the Hub for {name.repository}")
    try:
        offered = datasets.get_dataset_config_names(name.repository, revision=name.revision)
        if name.subset not in (offered if name.subset is not None or len(offered) > 1 else [None]):
            raise UserError(
                f"{name.repository} has the subsets {', '.join(offered)}: say which, hf:{name.repository}/SUBSET"
            )
        builder = datasets.load_dataset_builder(name.repository, name.subset, revision=name.revision)
        said = _size(builder, name)
        progress.begin(f"fetching {name.repository}{said}")
        builder.download_and_prepare()
        found: Mapping[str, Any] = builder.as_dataset()
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"the data set {name.repository!r} cannot be had from the Hub: {reason}") from error
    return found


def _size(builder: Any, name: Named) -> str:
    """What is known of how much is fetched, in words. Raises `UserError` where it does not fit on the disk."""
    sizes = (builder.info.download_size, builder.info.dataset_size)
    if not any(sizes):
        return ""
    needed = sum(size or 0 for size in sizes)
    folder = Path(builder.cache_dir)
    free = shutil.disk_usage(next(part for part in (folder, *folder.parents) if part.exists())).free
    if needed > free:
        raise UserError(
            f"{name.repository} takes {_in_words(needed)} with what is made of it, and {folder} has "
            f"{_in_words(free)} left: set HF_HOME to a folder with more room"
        )
    return f", {_in_words(sizes[0] or needed)}"


def _in_words(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


def _require_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError("data sets on the Hub need the package datasets: pip install 'vlb[datasets]'") from error
    return datasets


def _splits(found: Mapping[str, Any], name: Named) -> dict[str, Any]:
    """Those that have one of our names; the only one there is is for training."""
    if len(found) == 1:
        return {"train": next(iter(found.values()))}
    chosen = {ours: found[alias] for ours, names in SPLIT_NAMES.items() for alias in names if alias in found}
    if "train" not in chosen or len(chosen) < len(found):
        raise UserError(
            f"{name.repository} has the splits {', '.join(map(str, found))}: of several, train, validation and test "
            "are read, no others"
        )
    return chosen


def _write_pictures(found: Mapping[str, Any], name: Named, folder: Path) -> None:
    splits = _splits(found, name)
    datasets = _require_datasets()
    features = splits["train"].features
    images = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    column = _one(images, name.column, f"{name.repository}: columns of pictures", features)
    labels = [label for label, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    label = labels[0] if len(labels) == 1 else None
    classes = None if label is None else [f"{text}".replace("/", "-").strip(". ") for text in features[label].names]
    if classes is not None and (len({*classes}) < len(classes) or not all(classes)):
        raise UserError(f"{name.repository}: the classes of {label!r} have no names that differ as those of folders do")
    for split, rows in splits.items():
        kept = rows.select_columns([column, *([label] if label else [])]).cast_column(
            column, datasets.Image(decode=False)
        )
        for number, row in enumerate(kept):
            content = row[column]["bytes"] or Path(row[column]["path"]).read_bytes()
            suffix = next((end for magic, end in MAGIC.items() if content.startswith(magic)), None)
            if suffix is None:
                raise UserError(f"{name.repository}: picture {number} of {split} is of no format that is read")
            where = folder / split if classes is None else folder / split / _class(classes, row[label], number, name)
            where.mkdir(parents=True, exist_ok=True)
            (where / f"{number:07d}{suffix}").write_bytes(content)


def _class(classes: list[str], label: Any, number: int, name: Named) -> str:
    if label is None or not 0 <= label < len(classes):
        raise UserError(f"{name.repository}: picture {number} has no class, where others have one")
    return classes[label]


def _write_table(found: Mapping[str, Any], name: Named, folder: Path) -> None:
    if name.column is not None:
        raise UserError(f"{name.repository}: a table has all its columns: leave out :{name.column}, or use --leave-out")
    if len(found) > 1 and "train" not in found:
        raise UserError(f"{name.repository} has the splits {', '.join(map(str, found))}, of which none is called train")
    rows = found["train"] if "train" in found else next(iter(found.values()))
    rows.to_parquet(str(folder / f"{name.repository.rpartition('/')[2]}.parquet"))


def _one(found: list[str], wanted: str | None, what: str, features: Mapping[str, Any]) -> str:
    if wanted is not None and wanted not in found:
        raise UserError(f"{what}: {', '.join(found) or 'none'}; {wanted!r} is not one")
    if wanted is None and len(found) != 1:
        listed = (
            f"there are {', '.join(found)}: say which, hf:owner/name:COLUMN"
            if found
            else f"none of {', '.join(features)}"
        )
        raise UserError(f"{what}: {listed}")
    return found[0] if wanted is None else wanted
