"""How a model is used as a code, whatever its kind: what a header says of it, and the codec made of it."""

from vlb.coding.diffusion import DiffusionSettings
from vlb.coding.hierarchies import HierarchySettings
from vlb.coding.mixtures import MixtureSettings
from vlb.coding.wire import Damaged, Reader

Settings = DiffusionSettings | HierarchySettings | MixtureSettings
KINDS = (DiffusionSettings, HierarchySettings, MixtureSettings)


def kind(settings: Settings) -> int:
    """The kind of model, a number below `len(KINDS)`."""
    return KINDS.index(type(settings))


def read(number: int, reader: Reader) -> Settings:
    """Settings of the kind `number`. Raises `Damaged` for ones that make no sense, or of no kind."""
    if number >= len(KINDS):
        raise Damaged("a model of unknown kind")
    return KINDS[number].read(reader)
