"""The variational lower bound: likelihood-first diffusion models and their relatives.

Names are imported when first used, so that `import vlb` and `vlb --help` stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlb.data import Dataset, Split
    from vlb.errors import UserError
    from vlb.evaluation import Evaluation, classify, evaluate
    from vlb.experiment import Experiment
    from vlb.models.diffusion import DiffusionModel
    from vlb.models.mixture import GaussianMixture
    from vlb.recipes import recipe
    from vlb.runs import Run, load
    from vlb.train.loop import train

_HOMES = {
    "Dataset": "vlb.data",
    "DiffusionModel": "vlb.models.diffusion",
    "Evaluation": "vlb.evaluation",
    "Experiment": "vlb.experiment",
    "GaussianMixture": "vlb.models.mixture",
    "Run": "vlb.runs",
    "Split": "vlb.data",
    "UserError": "vlb.errors",
    "classify": "vlb.evaluation",
    "evaluate": "vlb.evaluation",
    "load": "vlb.runs",
    "recipe": "vlb.recipes",
    "train": "vlb.train.loop",
}

__all__ = [
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
