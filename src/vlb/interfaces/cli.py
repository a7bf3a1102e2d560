"""The command line. Everything heavy is imported inside the commands, so that --help answers at once."""

import io
import os
import sys
from itertools import pairwise
from typing import NoReturn, TextIO

from cyclopts import App, Parameter

from vlb.base.errors import UserError
from vlb.base.limits import too_large
from vlb.interfaces.commands.compare import compare
from vlb.interfaces.commands.compress import compress
from vlb.interfaces.commands.decompress import decompress
from vlb.interfaces.commands.doctor import doctor
from vlb.interfaces.commands.evaluate import evaluate
from vlb.interfaces.commands.explore import explore
from vlb.interfaces.commands.export import export
from vlb.interfaces.commands.import_ import import_
from vlb.interfaces.commands.impute import impute
from vlb.interfaces.commands.inspect import inspect
from vlb.interfaces.commands.publish import publish
from vlb.interfaces.commands.recipes import recipes
from vlb.interfaces.commands.report import report
from vlb.interfaces.commands.sample import sample
from vlb.interfaces.commands.score import score
from vlb.interfaces.commands.tightness import tightness
from vlb.interfaces.commands.train import train
from vlb.interfaces.help import Ranged
from vlb.interfaces.signals import ending_cleanly

app = App(
    name="vlb",
    help="Likelihood-first diffusion models and their relatives: train, evaluate, sample, report.",
    help_format="markdown",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # it is `ending_cleanly` that says what happened
)
VERBS = (
    recipes, train, evaluate, compare, score, tightness, sample, impute, report, compress, decompress, inspect, publish,
    explore, import_, export, doctor,
)  # fmt: skip
for verb in VERBS:
    app.command(verb, help_formatter=Ranged(verb))


app.register_install_completion_command(add_to_startup=False)

READING = ("decompress", "inspect")  # commands that read an archive from standard input
SHARED = ("train", "evaluate", "score", "sample")  # commands whose work several processes share out


def main(arguments: list[str] | None = None) -> None:
    """The entry point: messages for people, exit status 2 for what they can mend."""
    # Read when torch is loaded: threads that spin for long while waiting make a busy machine many times slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    _escape_names()
    try:
        try:
            with ending_cleanly():
                given = sys.argv[1:] if arguments is None else arguments
                _refuse_standard_input(given)
                _refuse_processes(given)
                app(given)
        finally:
            sys.stdout.flush()
    except UserError as error:
        _refuse(str(error))
    except (MemoryError, RuntimeError, TypeError) as error:
        if not too_large(error):
            raise
        reason = str(error).partition("\n")[0][:200] or "out of memory"
        _refuse(f"this needs more memory than there is ({reason}): make the model, batch or -n smaller")
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _give_up(sys.stdout)
        sys.exit(141)
    except OSError as error:
        _refuse(f"{error.filename or 'a file, or where output goes'}: {error.strerror or error}")


def _refuse(why: str) -> NoReturn:
    """Say why, as far as that can be written, and end with status 2."""
    for stream, text in ((sys.stderr, f"vlb: {why}\n"), (sys.stdout, "")):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            _give_up(stream)
    sys.exit(2)


def _give_up(stream: TextIO) -> None:
    """Let what is left to write go nowhere, which Python would write at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _refuse_standard_input(arguments: list[str]) -> None:
    """Where it is not read: the parser would take `-` for an option that there is not."""
    for before, argument in pairwise(arguments):
        if argument == "-" and before not in ("-o", "--out") and arguments[0] not in READING:
            raise UserError(f"standard input is read by {' and '.join(READING)} alone: give what comes in as a file")


def _refuse_processes(arguments: list[str]) -> None:
    """Where they would all do the same: `torchrun` says how many it started in WORLD_SIZE."""
    if os.environ.get("WORLD_SIZE", "1") != "1" and not set(arguments[:1]) & set(SHARED):
        raise UserError(
            f"several processes share out {', '.join(SHARED[:-1])} and {SHARED[-1]} alone: run "
            f"`vlb {' '.join(arguments[:1])}` by itself, without torchrun (WORLD_SIZE is set)"
        )


def _escape_names() -> None:
    """Print what is no text, such as the bytes of a file's name that is not UTF-8, as backslash escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
