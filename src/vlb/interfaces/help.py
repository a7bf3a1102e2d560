"""Help of a command: what cyclopts makes of docstrings, and beside each number from where to where it may lie."""

import inspect
from collections.abc import Callable
from typing import Any, get_args

from cyclopts.help import DefaultFormatter, HelpEntry, HelpPanel
from cyclopts.help.inline_text import InlineText
from rich.console import Console, ConsoleOptions
from rich.text import Text

from vlb.base.domains import domains, hints
from vlb.base.options import Options


class Ranged:
    """Formats the help of a command whose options are an `Options` class: its numbers' domains are its help's."""

    def __init__(self, command: Callable[..., None]) -> None:
        self.ranges = ranges(command)
        self.default = DefaultFormatter()

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print a panel of flags."""
        for entry in panel.entries:
            self._add_range(entry)
        self.default(console, options, panel)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print how the command is called."""
        self.default.render_usage(console, options, usage)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print what the command is for."""
        self.default.render_description(console, options, description)

    def _add_range(self, entry: HelpEntry) -> None:
        found = next((self.ranges[flag] for flag in entry.all_options if flag in self.ranges), "")
        if found and isinstance(entry.description, InlineText):
            entry.description.append(Text(f"[{found}]", "cyclopts.choices"))


def ranges(command: Callable[..., None]) -> dict[str, str]:
    """From where to where the number of each flag lies, by flag; without those of any size."""
    found: dict[str, str] = {}
    for parameter in inspect.signature(command).parameters.values():
        for kind in get_args(parameter.annotation)[:1]:
            if isinstance(kind, type) and issubclass(kind, Options):
                found |= _of(kind)
    return found


def _of(options: Any) -> dict[str, str]:
    within = {options.called(name): domains(kind) for name, kind in hints(options).items()}
    return {flag: str(found[0]) for flag, found in within.items() if found}
