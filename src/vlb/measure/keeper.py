"""Keeping an evaluation as it goes on, so that an interrupted one is gone on with."""

import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from vlb.base.errors import UserError
from vlb.base.progress import Progress
from vlb.measure.evaluation import Keep, Tally
from vlb.measure.evaluation_file import Begun, Subject, read, resume, save, save_new

SAVE_SECONDS = 10.0


def place(run: Path, subject: Subject, index: np.ndarray, progress: Progress) -> Path | None:
    """Where values of the examples `index` go unless said otherwise: the file in RUN/evaluations that is of the same,
    or a new one there; None where that cannot be written."""
    folder = run / "evaluations"
    try:
        folder.mkdir(exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        progress.say(f"{run} cannot be written to: no values are kept; --values FILE keeps them elsewhere")
        return None
    name = f"{subject.split}-{len(index)}"
    for file in sorted(folder.glob(f"{name}-*.npz")):
        with suppress(UserError):  # a file that is damaged, or of another format, is no evaluation to go on with
            begun = read(file)
            if not subject.differences(begun.subject) and np.array_equal(begun.index, index):
                return file
    number = 1
    while (file := folder / f"{name}-{number}.npz").exists():
        number += 1
    return file


class Keeper(Keep):
    """Saves an evaluation as it goes on, and finds what an interrupted one has left.

    path: of the file, or None to keep nothing, also where in the end nothing could be kept; notes: JSON values that an
    evaluation needs again, saved with it.
    """

    def __init__(self, path: Path | None, subject: Subject, index: np.ndarray) -> None:
        """Raises `UserError` where `path` holds another evaluation, or cannot be."""
        self.path, self.subject, self.index = path, subject, index
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError(f"there is no folder {path.absolute().parent}: make it first")
        found = None if path is None else resume(path, subject, index)
        super().__init__(found.tally if found else None)
        self.notes = found.notes if found else {}
        self._ours = found is not None
        self._saved = time.monotonic()

    @property
    def begun(self) -> tuple[object, ...]:
        """How far it has come, and what it needs again."""
        return self.notes, None if self.tally is None else (self.tally.batch_means, self.tally.sums)

    def watch(self, tally: Tally) -> None:
        """Save now and then."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._save(tally)

    def end(self, tally: Tally | None, progress: Progress, interrupted: bool) -> None:
        """Save what there is, and say how to go on."""
        if tally is None or self.path is None:
            return
        refused = self._save(tally)
        if refused is not None:
            progress.say(f"values are not kept: {refused}")
            self.path = None
        elif interrupted:
            progress.say(f"interrupted; kept in {self.path}, and the same command goes on")

    def _save(self, tally: Tally) -> UserError | None:
        """Why it could not be saved, which costs the values, and not the evaluation."""
        self._saved = time.monotonic()
        try:
            if self.path is not None:
                begun = Begun(tally, self.subject, self.index, self.notes)
                # Another command may have begun in this file meanwhile: the same evaluation, or it is not written over.
                new = not self._ours and resume(self.path, self.subject, self.index) is None
                (save_new if new else save)(self.path, begun)
                self._ours = True
        except UserError as refused:
            return refused
        return None
