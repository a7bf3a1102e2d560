"""Which experiments there are, cheapest first, and the page of their results."""

import inspect
import os
from importlib import import_module
from pathlib import Path
from typing import Any

from shared.arms import FIGURES, RESULTS, ROOT, Experiment, Found
from vlb.base.errors import UserError

NAMES = (
    "process",
    "information",
    "discretisation",
    "anisotropy",
    "loss_variance",
    "flow_codes",
    "schedules",
    "robustness",
    "representation",
    "weightings",
    "weightings_fashion",
    "weightings_beyond",
)
READINGS = ROOT / "experiments" / "readings"
PAGE = ROOT / "docs" / "experiments.md"

BEGINNING = """# Experiments

Questions that the monograph asks or leaves open, put to small models: a command each, which keeps its results as it
goes and draws its figure. The numbers here are of the budget `{budget}`: {seconds:.0f} CPU seconds of one core in all.
`--budget night` asks the same of larger models and more seeds;
`python experiments/all.py` does all of it, two at a time, and goes on where it was stopped. Bounds are test bounds in
bits/dim; ± is the standard error over seeds. Diffusion models of digits and of Fashion-MNIST are trained with [plain
settings](measurements.md#plain-settings) but for what is compared.

*`python experiments/page.py` writes this page from the files in `experiments/results`; "What we make of it" is from
`experiments/readings`, written by hand for these results.*
"""


def experiments() -> list[Experiment[Any]]:
    """All of them."""
    return [import_module(name).EXPERIMENT for name in NAMES]


def page(budget: str, results: Path = RESULTS, figures: Path = FIGURES) -> str:
    """The page of the results of a budget; what has not been run, or not all of it, is named."""
    parts, missing, seconds = [], [], 0.0
    for experiment in experiments():
        try:
            found = experiment.found(budget, results)
        except UserError:
            missing.append(f"`python experiments/{experiment.name}.py` ({experiment.title.lower()})")
            continue
        seconds += found.seconds
        parts.append(section(experiment, found, budget, figures))
    if missing:
        parts.append(f"## Not run yet\n\nWith this budget there are no whole results of {', '.join(missing)}.\n")
    return "\n".join((BEGINNING.format(budget=budget, seconds=seconds), *parts))


def section(experiment: Experiment[Any], found: Found, budget: str, figures: Path) -> str:
    """What one experiment asks, its figure, its numbers, what a person made of them and how to have them again."""
    question = (inspect.getdoc(import_module(experiment.name)) or "").partition("\n\n    python ")[0]
    figure = os.path.relpath(experiment.figure(budget, figures), PAGE.parent)
    command = f"python experiments/{experiment.name}.py" + ("" if budget == "short" else f" --budget {budget}")
    file = READINGS / f"{experiment.name}.md"
    reading = f"**What we make of it.** {file.read_text('utf-8')}\n" if file.is_file() else ""
    return (
        f"## {experiment.title}\n\n{question}\n\n![{experiment.alt}]({figure})\n\n{experiment.tell(found)}\n\n{reading}"
        f"*`{command}`, {found.seconds:.0f} CPU seconds of one core; set: {described(found.budget)}.*\n"
    )


def described(settings: dict[str, Any]) -> str:
    """A budget in a line."""
    return ", ".join(f"{name} `{words(value)}`" for name, value in settings.items() if value not in (None, [], ""))


def words(value: Any) -> str:
    """A setting without brackets."""
    if isinstance(value, dict):
        return ": ".join(words(part) for part in value.values())
    return " ".join(words(part) for part in value) if isinstance(value, list) else str(value)
