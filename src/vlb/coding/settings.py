"""How a model is used as a code, whatever its kind: what a header says of it, and the codec made of it."""

from vlb.coding.diffusion import DiffusionSettings
from vlb.coding.hierarchies import HierarchySettings
from vlb.coding.mixtures import MixtureSettings
from vlb.coding.wire import Reader, Writer

Settings = DiffusionSettings | HierarchySettings | MixtureSettings
KINDS = (DiffusionSettings, HierarchySettings, MixtureSettings)


def write(settings: Settings, writer: Writer) -> None:
    """As part of a header: the kind of model, then its own settings."""
    settings.write(writer.number(KINDS.index(type(settings))))


def read(reader: Reader) -> Settings:
    """The inverse of `write`. Raises `Damaged` for settings that make no sense."""
    return KINDS[reader.number(len(KINDS) - 1)].read(reader)
