"""What the size of an archive, and what is found in one, depend on. It needs no torch.

A field is the flag of the command of the same name: its name, type, default and entry below are the flag's.
"""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from vlb.base.domains import Count, Within
from vlb.base.options import Options

MAX_LANES, MAX_TRIES = 4096, 256  # as the format has them


@dataclass(frozen=True)
class CompressOptions(Options):
    """How to compress.

    Parameters
    ----------
    effort
        fast, normal, high or extreme: the number of steps, for time against size.
    steps
        The number of steps T, instead of what --effort says.
    lanes
        How many examples are coded at once: by default 64, and of tables with gaps 4096.
    tries
        Encode each batch so many times from other latents and keep the shortest code: smaller files for most models,
        the more so the fewer --lanes there are; encoding takes so many times as long, decoding no longer.
    embed_model
        Put the model into the file, which can then be read without the run.
    verify
        Decode everything again before it is written; --no-verify trusts the machine, and takes half the time.
    """

    effort: str = "normal"
    steps: Annotated[int, Within(1, 200)] | None = None
    lanes: Annotated[int, Within(1, MAX_LANES)] | None = None
    tries: Annotated[int, Within(1, MAX_TRIES)] = 1
    embed_model: bool = False
    verify: Annotated[bool, Parameter(negative="--no-verify")] = True


@dataclass(frozen=True)
class DecompressOptions(Options):
    """How to restore.

    Parameters
    ----------
    stop_after
        Read so many noise levels of each chunk, 1 being the coarsest, and write the denoised examples known by
        then: those that were coded last.
    salvage
        Of a damaged file, restore what is whole and say what is lost.
    trust
        Restore a file that becomes more than 1,000 times its bytes and 256 MiB, which may have been made to fill
        memory or disk, and is refused otherwise.
    """

    stop_after: Count | None = None
    salvage: bool = False
    trust: bool = False


@dataclass(frozen=True)
class InspectOptions(Options):
    """How closely to look.

    Parameters
    ----------
    account
        Also decode and encode everything again, and say where the bits went: bound, net rate, initial bits, speed.
    trust
        Account for a file that takes more memory than 1,000 times its bytes and 256 MiB, too.
    """

    account: bool = False
    trust: bool = False
