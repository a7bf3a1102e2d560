"""An experiment: arms that give numbers, a figure and a paragraph of them; results that are kept as they come.

A result file holds the budget and, per arm, its values and CPU seconds, and is written anew after every arm: what is
there is not run again.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from matplotlib.figure import Figure

from shared.style import save, styled
from vlb.base.errors import UserError
from vlb.base.files import write_text
from vlb.base.memory import keep_freed_memory

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
FIGURES = ROOT / "docs" / "figures" / "experiments"
BUDGETS = ("toy", "short", "night")

Values = dict[str, Any]
B = TypeVar("B")


@dataclass(frozen=True)
class Found:
    """Results: what they cost, as in the file. arms: values by name of arm; seconds: of CPU, all of them together."""

    budget: Values
    arms: dict[str, Values]
    seconds: float


@dataclass(frozen=True)
class Experiment(Generic[B]):
    """budgets: settings under the names of `BUDGETS`; arms: what to run under them, by name, none of which knows of
    another; draw, alt, tell: the figure, what it shows in words, and tables with what follows from their numbers, in
    Markdown. What a person made of the results on the page is in `readings`, without numbers of its own."""

    name: str
    title: str
    budgets: Mapping[str, B]
    arms: Callable[[B], Mapping[str, Callable[[], Values]]]
    draw: Callable[[Found], Figure]
    alt: str
    tell: Callable[[Found], str]

    def file(self, budget: str, folder: Path = RESULTS) -> Path:
        """Where the results are."""
        return folder / budget / f"{self.name}.json"

    def figure(self, budget: str, folder: Path = FIGURES) -> Path:
        """Where the figure is."""
        return folder / f"{self.name}-{budget}.svg"

    def found(self, budget: str, folder: Path = RESULTS) -> Found:
        """The results as they are. Raises `UserError` where some arm is missing."""
        arms = _kept(self.file(budget, folder), self._settings(budget))
        missing = [name for name in self.arms(self.budgets[budget]) if name not in arms]
        if missing:
            raise UserError(f"{self.file(budget, folder)} has no {missing[0]!r}: python experiments/{self.name}.py")
        seconds = sum(arm["cpu_seconds"] for arm in arms.values())
        return Found(self._settings(budget), {name: arm["values"] for name, arm in arms.items()}, seconds)

    def run(self, budget: str, results: Path = RESULTS, figures: Path = FIGURES) -> Found:
        """Run the arms that are not in the file yet, and draw the figure."""
        file, settings = self.file(budget, results), self._settings(budget)
        arms = _kept(file, settings)
        file.parent.mkdir(parents=True, exist_ok=True)
        for name, arm in self.arms(self.budgets[budget]).items():
            if name not in arms:
                begun = time.process_time()
                values = _rounded(arm())
                arms[name] = {"cpu_seconds": round(time.process_time() - begun, 2), "values": values}
                write_text(file, json.dumps({"budget": settings, "arms": arms}, indent=1) + "\n")
                print(f"{self.name}, {name}: {arms[name]['cpu_seconds']:.0f} s", flush=True)
        found = self.found(budget, results)
        figures.mkdir(parents=True, exist_ok=True)
        with styled():
            save(self.draw(found), self.figure(budget, figures))
        return found

    def _settings(self, budget: str) -> Values:
        """The budget as it is in a file."""
        settings: Values = json.loads(json.dumps(asdict(self.budgets[budget])))  # type: ignore[call-overload]
        return settings


def main(experiment: Experiment[Any]) -> None:
    """The command of one experiment."""
    arguments = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--budget", choices=BUDGETS, default="short", help="short (default): minutes of one core")
    budget = arguments.parse_args().budget
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        found = experiment.run(budget)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"\n{experiment.tell(found)}\n\n{found.seconds:.0f} CPU seconds; {experiment.figure(budget)}")


def _kept(file: Path, settings: Values) -> dict[str, Values]:
    """The arms in a file, none where there is no file. Raises `UserError` where they are of another budget."""
    if not file.is_file():
        return {}
    content = json.loads(file.read_text("utf-8"))
    if content["budget"] != settings:
        raise UserError(f"{file} has results of other settings, {content['budget']}: remove it to begin anew")
    arms: dict[str, Values] = content["arms"]
    return arms


def _rounded(value: Any) -> Any:
    """Six digits of every number, which are more than are known."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return value
