"""An evaluation as a file: values per example, what they are of, and where it goes on if it was interrupted.

A plain `.npz` of numeric arrays and one JSON text, written whole after each save; nothing in it is ever executed.

    values (examples, terms) nats, means over the draws so far · index (examples,) places in the split ·
    deviations (examples,) nats², sums of squares of their totals · batch_means: of the batches seen · batch: their
    size · about: JSON, see `Subject`, with a SHA-256 of everything else: numbers that were changed are noticed
"""

import dataclasses
import hashlib
import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlb.base.errors import UserError
from vlb.base.files import refuse_existing, written_new, written_whole
from vlb.core.terms import BoundKind, TermPath
from vlb.data.contents import content_of
from vlb.data.formats.npz import arrays_in
from vlb.measure import before
from vlb.measure.evaluation import Evaluation, Tally

FORMAT = 2
LARGEST = 1e100  # whose squares are finite


@dataclass(frozen=True)
class Subject:
    """What an evaluation is of: with equal subjects and examples, two runs of it give the same numbers.

    data, fingerprint: the data set; split: its part, or "given" for a person's own examples, whose fingerprint it then
    is; levels: K of discrete data, whose likelihood is a mass, or None for a density; shape: of an example;
    bound: what their sum is; model: fingerprint of the weights; options: everything else that the numbers depend on;
    measure: what the likelihood is stated against, in words, empty where an earlier version did not say: it follows
    from the data.
    """

    data: str
    fingerprint: str
    split: str
    levels: int | None
    shape: tuple[int, ...]
    bound: BoundKind
    conditional: bool
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    measure: str = ""

    @property
    def dimensions(self) -> float:
        """Of an example, but for what is given; of pieces in the mean."""
        return float(self.options.get("modelled", math.prod(self.shape)))

    def differences(self, other: "Subject") -> list[str]:
        """The names of what is not the same.

        An option that one does not name, and that is None in the other, is the same: a later version may have options
        that an earlier one had not.
        """
        own, its = (subject.encode() | {"options": _said(subject.options)} for subject in (self, other))
        return [name for name in own if name != "measure" and own[name] != its[name]]

    def encode(self) -> dict[str, Any]:
        """JSON values, in which the bound is words."""
        return json.loads(json.dumps(dataclasses.asdict(self) | {"bound": str(self.bound)}))


@dataclass(frozen=True)
class Kept:
    """A finished evaluation from a file, what it is of, and which examples of the split: (examples,)."""

    evaluation: Evaluation
    subject: Subject
    index: np.ndarray


@dataclass
class Begun:
    """A tally as a file holds it, its sums among the notes; notes: JSON values, no numbers, that the one who saved it
    needs again."""

    tally: Tally
    subject: Subject
    index: np.ndarray
    notes: dict[str, Any]


def save(path: Path, begun: Begun) -> None:
    """Write the state of an evaluation, whole or not at all. Raises `UserError` if the disk refuses."""
    with written_whole(path) as temporary:
        _write(temporary, begun)


def save_new(path: Path, begun: Begun) -> None:
    """As `save`, where nothing may stand at `path` yet. Raises `UserError` where something does."""
    with written_new(path) as temporary:
        _write(temporary, begun)


def load(path: Path) -> Kept:
    """A finished evaluation. Raises `UserError` for a file that is none, is damaged, or is not finished."""
    begun = read(path)
    tally, subject = begun.tally, begun.subject
    if tally.start or tally.passes < 2:
        raise UserError(
            f"{path} holds an evaluation that is not finished ({tally.passes} whole passes and {tally.start} examples "
            "of another): repeat the command that began it"
        )
    evaluation = tally.evaluation(subject.dimensions, subject.bound, subject.conditional)
    return Kept(evaluation, subject, begun.index)


def resume(path: Path, subject: Subject, index: np.ndarray) -> Begun | None:
    """What a file holds of this evaluation; None where there is none. Raises `UserError` if it is of another,
    or a link to nothing."""
    if not path.exists():
        refuse_existing(path)
        return None
    begun = read(path)
    different = subject.differences(begun.subject)
    if different or not np.array_equal(begun.index, index):
        found, wanted = begun.subject.encode(), subject.encode()
        shown = "; ".join(f"{n}: {found[n]} there, {wanted[n]} here" for n in different)
        raise UserError(
            f"{path} is an evaluation of something else ({shown or 'other examples'}): choose another file for --values"
        )
    return begun


def read(path: Path) -> Begun:
    """A file's content, finished or not. Raises `UserError` for what is not such a file, or is damaged."""
    if path.exists() and not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is no whole file of an evaluation: choose another; `vlb evaluate RUN --values FILE.npz` makes one"
        )
    try:
        archive = arrays_in(content_of(path))
        about = json.loads(str(archive.read("about")[()]))
        if about["format"] != FORMAT:
            raise UserError(
                f"{path} has format {about['format']}, and this version of vlb reads {FORMAT}: choose another "
                "file, and evaluate again"
            )
        # Copies: the file is written anew while an evaluation goes on.
        arrays = {name: archive.read(name).copy() for name in ("values", "index", "deviations", "batch_means", "batch")}
        if about.pop("digest") != _digest(arrays, about):
            raise ValueError("its checksum is not that of its numbers")
        begun = Begun(
            Tally(
                tuple(map(_term, about["names"])),
                _numbers(arrays["values"], 2),
                _numbers(arrays["deviations"], 1),
                int(arrays["batch"]),
                _numbers(arrays["batch_means"], 1).tolist(),
                {name: value for name, value in about["notes"].items() if _is_sum(value)},
            ),
            _subject(about["subject"], about.get("bound")),
            arrays["index"],
            {name: value for name, value in about["notes"].items() if not _is_sum(value)},
        )
        _check(begun)
    except (UserError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}: `vlb evaluate RUN --values {path}` makes one") from error
    except Exception as error:  # numpy, zip and zlib let many kinds escape from a damaged file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} is no whole file of an evaluation ({reason}): make it again") from error
    return begun


def _said(value: Any) -> Any:
    """JSON values without what is None."""
    if isinstance(value, dict):
        return {name: _said(item) for name, item in value.items() if item is not None}
    return json.loads(json.dumps(value))


def _write(path: Path, begun: Begun) -> None:
    tally = begun.tally
    arrays = {
        "values": tally.means,
        "index": begun.index,
        "deviations": tally.deviations,
        "batch_means": np.array(tally.batch_means, dtype=np.float64),
        "batch": np.array(tally.batch),
    }
    about = {
        "format": FORMAT,
        "names": tally.paths,
        "subject": begun.subject.encode(),
        "bound": dataclasses.asdict(begun.subject.bound),
        "notes": begun.notes | tally.sums,
    }
    about["digest"] = _digest(arrays, about)
    with path.open("wb") as stream:
        np.savez(stream, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def _digest(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> str:
    """Of the arrays and of `about` without a digest of its own."""
    # As it is read: JSON makes lists of tuples and texts of numbered keys.
    state = hashlib.sha256(json.dumps(json.loads(json.dumps(about)), sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        state.update(f"{name}:{array.dtype.str}:{array.shape};".encode() + np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def _is_sum(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _term(written: object) -> TermPath:
    if isinstance(written, str):
        return before.term(written)
    if not isinstance(written, list) or not written or not all(isinstance(part, str | int) for part in written):
        raise ValueError("its terms have no names")
    return tuple(written)


def _bound(words: str, written: dict[str, Any] | None) -> BoundKind:
    if written is None:
        return before.bound(words)
    bound = BoundKind(str(written["what"]), str(written["how"]), bool(written["exact"]))
    if str(bound) != words:
        raise ValueError("its description is not one")
    return bound


def _subject(content: dict[str, Any], bound: dict[str, Any] | None) -> Subject:
    shape = tuple(int(side) for side in content["shape"])
    subject = Subject(**{**content, "shape": shape, "bound": _bound(content["bound"], bound)})
    texts = (subject.data, subject.fingerprint, subject.split, subject.model, subject.measure)
    if not all(isinstance(text, str) for text in texts) or not isinstance(subject.options, dict):
        raise ValueError("its description is not one")
    if not isinstance(subject.levels, int | None) or math.prod(subject.shape) < 1:
        raise ValueError("its description is not one")
    if not 1 <= subject.dimensions <= math.prod(subject.shape):
        raise ValueError("its description is not one")
    return subject


def _numbers(array: np.ndarray, dimensions: int) -> np.ndarray:
    if array.dtype != np.float64 or array.ndim != dimensions or not np.isfinite(array).all():
        raise ValueError("its numbers are not finite float64")
    return array


def _check(begun: Begun) -> None:
    tally, index = begun.tally, begun.index
    count, terms = tally.means.shape
    if count == 0 or terms != len(tally.paths) or tally.deviations.shape != (count,):
        raise ValueError("its arrays do not fit each other")
    if index.dtype != np.int64 or index.shape != (count,) or tally.batch < 1:
        raise ValueError("its arrays do not fit each other")
    if begun.subject.options.get("batch", tally.batch) != tally.batch:
        raise ValueError("its arrays do not fit its description")
    if (tally.deviations < 0).any() or max(np.abs(tally.means).max(), tally.deviations.max()) > LARGEST:
        raise ValueError("its numbers are not those of an evaluation")
