"""Where a run is: a folder; one that comes with vlb, `vlb:digits`; or one on the Hugging Face Hub, `hf:owner/name`.

The last two are copied into the cache before they are opened, so that what verbs keep beside a run has a place. Only
the files of a run are taken, and they are read as any run is: nothing in them is executed.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vlb.base.errors import UserError, suggestion
from vlb.base.files import made_new
from vlb.data.cache import cache_folder

CARD = "README.md"
PARTS = (
    CARD,
    "config.json",
    "reference.safetensors",
    "schema.toml",
    "checkpoints/best.safetensors",
)  # all that is public
SHIPPED = ("digits", "iris")
FOLDER = Path(__file__).parent / "shipped"


def place(run: str | Path) -> Path:
    """The folder of a run by its path or its name.

    Raises `UserError` for a name of which there is no run, and for one that cannot be had.
    """
    kind, colon, name = str(run).partition(":")
    if not colon or kind not in _KINDS or Path(run).exists():
        return Path(run)
    return _KINDS[kind](name)


def shipped(name: str) -> Path:
    """A copy in the cache of a run that comes with vlb. Raises `UserError` where none is called so."""
    if name not in SHIPPED:
        raise UserError(f"no run called {name!r} comes with vlb; {suggestion(name, SHIPPED)}")
    source = FOLDER / name
    digest = sha256(b"".join((source / part).read_bytes() for part in PARTS if (source / part).is_file()))
    return _copied(source, f"vlb-{name}-{digest.hexdigest()[:16]}")


def published(name: str) -> Path:
    """A copy in the cache of a run on the Hub, `owner/name` or `owner/name@revision`, of which the newest is fetched,
    or the one fetched last where the Hub is not reached. Raises `UserError` where it cannot be had."""
    fetched_to = fetched(name, PARTS)
    return _copied(fetched_to, f"hub-{name.partition('@')[0].replace('/', '--')}-{fetched_to.name}")


def fetched(name: str, files: Sequence[str]) -> Path:
    """The folder in the Hub's own cache with those files, or patterns of files, of `owner/name` or
    `owner/name@revision`. Raises `UserError` where it cannot be had."""
    hub = require_hub()
    repository, _, revision = name.partition("@")
    try:
        return Path(hub.snapshot_download(repository, revision=revision or None, allow_patterns=list(files)))
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{name!r} cannot be had from the Hub: {reason}") from error


def require_hub() -> Any:
    """The package huggingface_hub. Raises `UserError` where it is not installed."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise UserError("runs on the Hub need the package huggingface_hub: pip install 'vlb[hub]'") from error
    return huggingface_hub


def _copied(source: Path, name: str) -> Path:
    """The files of a run in a folder of the cache, made if it is not there."""
    target = cache_folder() / "runs" / name
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot keep runs in {target.parent}: {error.strerror or error}; set VLB_DATA to a folder you can write"
        ) from error
    with made_new(target) as folder:
        for part in PARTS:
            if (source / part).is_file():
                (folder / part).parent.mkdir(exist_ok=True)
                shutil.copyfile(source / part, folder / part)
    return target


_KINDS: Mapping[str, Callable[[str], Path]] = MappingProxyType({"vlb": shipped, "hf": published})
