"""What the commands share: where they print, their bars, the device, and results as JSON.

It needs no torch, so that a command has said that it is at work before anything heavy is imported.
"""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.status import Status

from vlb.base.errors import UserError
from vlb.base.files import text, write_new
from vlb.base.results import Result

if TYPE_CHECKING:
    import torch

console = Console(stderr=True)


class Terminal:
    """A `vlb.base.progress.Progress` on standard error: a bar for each stretch of work, with time spent and left.

    A stretch of unknown length has a spinner that vanishes, unless it says how much is done. Where standard error is no
    terminal, a line says that a stretch begins, for bars are seen there when they are over.
    """

    def __init__(self) -> None:
        self._what = ""
        self._spinner: Status | None = None
        self._bar: tuple[Bars, TaskID] | None = None

    def __enter__(self) -> "Terminal":
        """What is imported within it is imported under a spinner."""
        self.begin("starting")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_stretch()

    def begin(self, what: str, total: int | None = None) -> None:
        """Another bar or spinner."""
        self._end_stretch()
        self._what = what
        if not console.is_terminal:
            console.print(f"{what} …", markup=False, highlight=False, soft_wrap=True)
        if total is None:
            self._spinner = console.status(what)
            self._spinner.start()
        else:
            self._start_bar(total)

    def at(self, done: int, *, total: int | None = None, detail: str = "") -> None:
        """Move the bar."""
        if self._bar is None:
            self._end_stretch()
            self._start_bar(total)
        if self._bar is not None:
            bars, task = self._bar
            bars.update(task, completed=done, total=total, detail=detail)  # a total of None changes none

    def say(self, line: str) -> None:
        """A line above the bars."""
        console.print(line, markup=False)

    def _start_bar(self, total: int | None) -> None:
        bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        bars.start()
        self._bar = bars, bars.add_task(self._what, total=total, detail="")

    def _end_stretch(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
        if self._bar is not None:
            self._bar[0].stop()
        self._spinner, self._bar = None, None


def choose_device(name: str | None) -> "torch.device":
    """The named device, or cuda where there is one. Raises `UserError` for a name that is not to be had."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise UserError(
            f"there is no device {name!r} here: use --device cpu" + (" or cuda" if torch.cuda.is_available() else "")
        )
    return torch.device(name)


def output() -> Console:
    """Where results go: standard output."""
    return Console()


def show(result: Result) -> None:
    """Print what a verb found."""
    result.show(output())


def write_json(result: Result, path: Path | None) -> None:
    """Write everything in a result where that was asked for."""
    if path is not None:
        write_new(path, text(result.to_json()))
