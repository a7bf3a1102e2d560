"""The kinds of codes, a line each: what a header may say."""

from vlb.coding.cascade import CascadeSettings
from vlb.coding.diffusion import DiffusionSettings
from vlb.coding.effort import remembered  # registers how a diffusion model chooses its settings
from vlb.coding.factors import FactorSettings
from vlb.coding.hierarchies import HierarchySettings
from vlb.coding.mixtures import MixtureSettings
from vlb.coding.models import Settings
from vlb.coding.wire import Damaged, Reader

KINDS = (DiffusionSettings, HierarchySettings, MixtureSettings, FactorSettings, CascadeSettings)


def kind(settings: Settings) -> int:
    """The kind of code, a number below `len(KINDS)`."""
    return [type(settings) is offered for offered in KINDS].index(True)


def read(number: int, reader: Reader) -> Settings:
    """Settings of the kind `number`. Raises `Damaged` for ones that make no sense, or of no kind."""
    if number >= len(KINDS):
        raise Damaged("a model of unknown kind")
    return KINDS[number].read(reader)


__all__ = ["KINDS", "Settings", "kind", "read", "remembered"]
