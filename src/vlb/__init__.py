"""The variational lower bound: likelihood-first diffusion models and their relatives.

Names are imported when first used, so that `import vlb` and `vlb --help` stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlb.base.errors import UserError
    from vlb.core.condition import Condition
    from vlb.data import Dataset, Split
    from vlb.measure.evaluation import Evaluation, classify, evaluate
    from vlb.models.diffusion.model import DiffusionModel
    from vlb.models.mixture.gaussian import GaussianMixture
    from vlb.store.experiment import Experiment
    from vlb.store.runs import Run, load
    from vlb.training.loop import train
    from vlb.training.recipes import recipe

_HOMES = {
    "Condition": "vlb.core.condition",
    "Dataset": "vlb.data",
    "DiffusionModel": "vlb.models.diffusion.model",
    "Evaluation": "vlb.measure.evaluation",
    "Experiment": "vlb.store.experiment",
    "GaussianMixture": "vlb.models.mixture.gaussian",
    "Run": "vlb.store.runs",
    "Split": "vlb.data",
    "UserError": "vlb.base.errors",
    "classify": "vlb.measure.evaluation",
    "evaluate": "vlb.measure.evaluation",
    "load": "vlb.store.runs",
    "recipe": "vlb.training.recipes",
    "train": "vlb.training.loop",
}

__all__ = [
    "Condition",
    "Dataset",
    "DiffusionModel",
    "Evaluation",
    "Experiment",
    "GaussianMixture",
    "Run",
    "Split",
    "UserError",
    "classify",
    "evaluate",
    "load",
    "recipe",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vlb' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
