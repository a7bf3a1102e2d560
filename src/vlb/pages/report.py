"""`vlb.report`: one self-contained page about a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from vlb.base.files import write_text
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Table
from vlb.core.surroundings import ordinary
from vlb.measure.recognition import Recognition
from vlb.pages import kinds  # noqa: F401  the pages of all kinds register there
from vlb.pages.content import Content, content_of
from vlb.store.runs import Run


@dataclass(frozen=True)
class ReportResult(Result):
    """What `vlb.report` returns: where the page is, and what is on it."""

    path: Path
    content: Content

    @property
    def words(self) -> str:
        """The page's main number, and where it is."""
        return f"{number(self.content)}; report: {self.path}"

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {"report": str(self.path), **self.content.found.values()}

    def table(self) -> Table:
        """The page's main result."""
        return self.content.found.table()

    def show(self, console: Any) -> None:
        """In a sentence."""
        console.print(self.words, markup=False)


@ordinary()
def report(
    run: Run | str | Path,
    *,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> ReportResult:
    """Write RUN/report.html, in place of an older one: the page of `vlb report`.

    data: where a run's own data are now, if they have moved. Raises `UserError` if `run` is not a trained run.
    """
    progress.begin("opening the run and its data")
    opened = run if isinstance(run, Run) else Run.open(run)
    model = opened.model(device)
    own = opened.reference(model, data)
    if own.why:
        progress.say(own.why)
        own = own.with_test(f"{own.name}: samples of the model, for the data are gone", own.test)
    content = content_of(cast(nn.Module, model), opened, own, device, progress)
    progress.begin("drawing the page")
    path = opened.path / "report.html"
    write_text(path, content.page())
    return ReportResult(path, content)


def number(content: Content) -> str:
    """The page's main number with its unit."""
    found = content.found
    return f"{found.error_rate:.2%} errors" if isinstance(found, Recognition) else f"{found.bits_per_dim:.4f} bits/dim"
