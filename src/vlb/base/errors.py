"""The one exception that a person is meant to read."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something a person can mend: the message says what was wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def broken(what: str) -> UserError:
    """That a model's numbers are none; what: which, and what they are."""
    return UserError(
        f"{what}: the model's weights are broken. Its training diverged, or the file was damaged: train again (with a "
        "lower training.learning_rate, if it takes steps), or restore a copy"
    )


def suggestion(name: str, known: Iterable[str]) -> str:
    """A tail for a message about an unknown `name`: the nearest known one, or all of them."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(names)}"
