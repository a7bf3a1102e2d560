"""How a model is used as a code, whatever its kind: what a header says of it, and the codec made of it."""

from vlb.coding.diffusion import DiffusionSettings
from vlb.coding.hierarchies import HierarchySettings
from vlb.coding.mixtures import MixtureSettings
from vlb.coding.wire import Damaged, Reader, Writer

Settings = DiffusionSettings | HierarchySettings | MixtureSettings
KINDS = (DiffusionSettings, HierarchySettings, MixtureSettings)


def kind(settings: Settings) -> int:
    """The kind of model, a number below `len(KINDS)`."""
    return KINDS.index(type(settings))


def write(settings: Settings, writer: Writer) -> None:
    """As part of a header that says their kind."""
    settings.write(writer)


def read(kind: int, reader: Reader) -> Settings:
    """The inverse of `write`. Raises `Damaged` for settings that make no sense, or of no kind."""
    if kind >= len(KINDS):
        raise Damaged("a model of unknown kind")
    return KINDS[kind].read(reader)
