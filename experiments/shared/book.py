"""Which experiments there are, cheapest first, and the page of their results."""

import inspect
import os
from importlib import import_module
from pathlib import Path
from typing import Any

from shared.arms import FIGURES, RESULTS, ROOT, Experiment

NAMES = (
    "process",
    "information",
    "discretisation",
    "anisotropy",
    "loss_variance",
    "encodings",
    "schedules",
    "weightings",
)
PAGE = ROOT / "docs" / "experiments.md"

BEGINNING = """# Experiments

Questions that the monograph asks or leaves open, put to small models: a command each, which keeps its results as it
goes and draws its figure. The numbers here are of the budget `{budget}`: {minutes:.0f} minutes of one core in all.
`--budget night` asks the same of larger models, more seeds and, for weightings, of Fashion-MNIST;
`python experiments/all.py` does all of it, two at a time, and goes on where it was stopped. Bounds are test bounds in
bits/dim; ± is the standard error over seeds.

*`python experiments/page.py` writes this page from the files in `experiments/results`; "What we make of it" is written
by hand.*
"""


def experiments() -> list[Experiment[Any]]:
    """All of them."""
    return [import_module(name).EXPERIMENT for name in NAMES]


def page(budget: str, results: Path = RESULTS, figures: Path = FIGURES) -> str:
    """The page of the results of a budget. Raises `UserError` where some are missing."""
    parts, minutes = [], 0.0
    for experiment in experiments():
        found = experiment.found(budget, results)
        minutes += found.seconds / 60
        module = inspect.getdoc(import_module(experiment.name)) or ""
        question = module.partition("\n\n    python ")[0]
        figure = os.path.relpath(experiment.figure(budget, figures), PAGE.parent)
        option = "" if budget == "short" else f" --budget {budget}"
        parts.append(
            f"## {experiment.title}\n\n{question}\n\n![{experiment.alt}]({figure})\n\n{experiment.tell(found)}\n\n"
            f"What we make of it: {experiment.reading}\n\n"
            f"*`python experiments/{experiment.name}.py{option}`, {found.seconds:.0f} CPU seconds of one core; "
            f"set: {described(found.budget)}.*\n"
        )
    return "\n".join((BEGINNING.format(budget=budget, minutes=minutes), *parts))


def described(settings: dict[str, Any]) -> str:
    """A budget in a line."""
    words = {
        name: " ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in settings.items()
        if value is not None
    }
    return ", ".join(f"{name} `{value}`" for name, value in words.items())
